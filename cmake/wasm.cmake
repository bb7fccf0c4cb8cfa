# The WebAssembly modules. One build makes one feature level (OCTAVO_RELAXED) of the engine, over the facade, without and with
# threads, and of the torch-shaped modules by themselves, so that neither download carries the other.
if(OCTAVO_RELAXED)
  set(OCTAVO_LEVEL relaxed)
else()
  set(OCTAVO_LEVEL simd)
endif()

# octavo_wasm_module(TARGET OUTPUT LAYER SOURCES...)
function(octavo_wasm_module target output layer)
  add_executable(${target} ${ARGN})
  target_link_libraries(${target} PRIVATE octavo_${layer})
  target_include_directories(${target} PRIVATE bindings/embind)
  target_compile_options(${target} PRIVATE -Oz)
  set_target_properties(${target} PROPERTIES OUTPUT_NAME ${output} SUFFIX .mjs)
  # The smaller allocator: sessions plan their memory in one piece, and small pieces are few.
  # No eval (a page's CSP may forbid it), no file system; the loader hands the compiled module in, so one glue serves
  # browsers, workers and Node.
  target_link_options(${target} PRIVATE
    -Oz -lembind -sMALLOC=emmalloc -sMODULARIZE -sEXPORT_ES6 -sDYNAMIC_EXECUTION=0 -sFILESYSTEM=0 -sENVIRONMENT=web,worker,node
    -sINCOMING_MODULE_JS_API=instantiateWasm,print,printErr
    # Memory starts with little more than the stack and the constants and grows by a fiftieth: what a network does not need is not
    # taken. (Emscripten's 16 MB and a fifth are more than a MobileNetV2 and half of one.)
    -sINITIAL_MEMORY=2MB -sMEMORY_GROWTH_GEOMETRIC_STEP=0.02)
endfunction()

# --emit-tsd links a second time, and needs tsc (typescript 5) on PATH: tools/build.mjs sees to that.
file(GLOB sources CONFIGURE_DEPENDS bindings/embind/*.cpp)
octavo_wasm_module(octavo_module octavo.${OCTAVO_LEVEL} quantize ${sources})
target_link_options(octavo_module PRIVATE --emit-tsd octavo.${OCTAVO_LEVEL}.d.mts)
file(GLOB nn_sources CONFIGURE_DEPENDS bindings/embind/nn/*.cpp)
octavo_wasm_module(octavo_nn_module octavo-nn.${OCTAVO_LEVEL} nn ${nn_sources} bindings/embind/library.cpp)
target_link_options(octavo_nn_module PRIVATE --emit-tsd octavo-nn.${OCTAVO_LEVEL}.d.mts)

# The engine again with shared memory and workers: the same libraries, linked otherwise; the same types.
octavo_wasm_module(octavo_threads_module octavo.${OCTAVO_LEVEL}.threads quantize ${sources})
target_compile_options(octavo_threads_module PRIVATE -pthread)
target_link_options(octavo_threads_module PRIVATE ${OCTAVO_WASM_THREADS} -sEXPORTED_RUNTIME_METHODS=PThread)

# The part of the engine that loads models and runs them, for pages that quantize nothing: the linker leaves out what
# bindings/embind/run.cpp does not reach.
list(FILTER sources EXCLUDE REGEX "/quantize\\.cpp$")
octavo_wasm_module(octavo_run_module octavo-run.${OCTAVO_LEVEL} quantize ${sources})
target_link_options(octavo_run_module PRIVATE --emit-tsd octavo-run.${OCTAVO_LEVEL}.d.mts)
octavo_wasm_module(octavo_run_threads_module octavo-run.${OCTAVO_LEVEL}.threads quantize ${sources})
target_compile_options(octavo_run_threads_module PRIVATE -pthread)
target_link_options(octavo_run_threads_module PRIVATE ${OCTAVO_WASM_THREADS} -sEXPORTED_RUNTIME_METHODS=PThread)

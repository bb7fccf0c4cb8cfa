# The WebAssembly module: bindings/embind over the facade. One build makes one feature level (OCTAVO_RELAXED).
if(OCTAVO_RELAXED)
  set(OCTAVO_LEVEL relaxed)
else()
  set(OCTAVO_LEVEL simd)
endif()
file(GLOB sources CONFIGURE_DEPENDS bindings/embind/*.cpp)
add_executable(octavo_module ${sources})
target_link_libraries(octavo_module PRIVATE octavo_quantize)
target_compile_options(octavo_module PRIVATE -Oz)
set_target_properties(octavo_module PROPERTIES OUTPUT_NAME octavo.${OCTAVO_LEVEL} SUFFIX .mjs)
# No eval (a page's CSP may forbid it), no file system; the loader hands the compiled module in, so one glue serves
# browsers, workers and Node. --emit-tsd needs tsc (typescript 5) on PATH: tools/build.mjs sees to that.
target_link_options(octavo_module PRIVATE
  -lembind -sMODULARIZE -sEXPORT_ES6 -sDYNAMIC_EXECUTION=0 -sFILESYSTEM=0 -sENVIRONMENT=web,worker,node
  -sEXPORT_EXCEPTION_HANDLING_HELPERS -sINCOMING_MODULE_JS_API=instantiateWasm,print,printErr
  --emit-tsd octavo.${OCTAVO_LEVEL}.d.mts)

#!/usr/bin/env bash
# Finds or installs an Emscripten that is new enough, and prints the folder to
# put first on PATH (the last line of standard output; all else goes to stderr).
#
#   PATH="$(bash tools/install-emscripten.sh):$PATH"
#
# 1. an emcc on PATH that is new enough is used as it is;
# 2. else Debian's own package, where this machine's apt has one new enough;
# 3. else Debian's package from a later suite, unpacked into a private folder
#    beside the machine's own packages, which are left alone. Emscripten itself
#    is scripts and prebuilt libraries; its LLVM comes from this machine's own
#    suite, and its one native part, binaryen, is started through the later
#    suite's own loader and libc, kept in the same folder.
#
# A prefix that others cannot write to needs EM_FROZEN_CACHE=1 in their environment.
#
# Settings (environment):
#   EMSCRIPTEN_MIN     the oldest version accepted                     (3.1.69)
#   EMSCRIPTEN_SUITE   the suite to take it from in case 3             (trixie)
#   EMSCRIPTEN_PREFIX  where to unpack it  (~/.cache/emscripten-debian/SUITE)
#   EMSCRIPTEN_ALL=1   unpack the LTO and PIC libraries too (1.2 GB more)
#   EMSCRIPTEN_PRIVATE_LLVM=1  no apt-get install even as root: unpack LLVM too
set -euo pipefail

min=${EMSCRIPTEN_MIN:-3.1.69}
suite=${EMSCRIPTEN_SUITE:-trixie}
prefix=${EMSCRIPTEN_PREFIX:-${XDG_CACHE_HOME:-$HOME/.cache}/emscripten-debian/$suite}
layout=3 # raise when what is written below changes: older prefixes are rebuilt

say() { printf 'install-emscripten: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
new_enough() { [ -n "${1:-}" ] && dpkg --compare-versions "$1" ge "$min"; }

lock_wait=(-o DPkg::Lock::Timeout=600)
root=() # how to become root, when possible
can_install=false
if [ "${EMSCRIPTEN_PRIVATE_LLVM:-}" != 1 ]; then
  if [ "$(id -u)" = 0 ]; then can_install=true
  elif sudo -n true 2>/dev/null; then can_install=true; root=(sudo -n); fi
fi

# --- 1. on PATH
if emcc=$(command -v emcc) && new_enough "$("$emcc" -dumpversion 2>/dev/null | head -n1)"; then
  say "emcc on PATH: $emcc"
  dirname "$emcc"
  exit 0
fi

# --- 3, already done
if [ "$(cat "$prefix/.complete" 2>/dev/null)" = "$layout" ] \
  && new_enough "$("$prefix/emscripten/emcc" -dumpversion 2>/dev/null | head -n1)"; then
  say "already unpacked: $prefix"
  echo "$prefix/emscripten"
  exit 0
fi

for tool in apt-get dpkg-deb tar python3 node; do
  command -v "$tool" >/dev/null || die "needs $tool"
done

# --- 2. this machine's own suite
candidate() { apt-cache policy "$1" | awk '/Candidate:/ {print $2; exit}'; }
if [ -z "$(candidate clang)" ] && "$can_install"; then
  say 'reading package lists'
  "${root[@]}" apt-get "${lock_wait[@]}" -qq update >&2
fi
if "$can_install" && own=$(candidate emscripten) && new_enough "${own/(none)/0}"; then
  say "apt-get install emscripten $own"
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get "${lock_wait[@]}" -qq -y --no-install-recommends install emscripten >&2
  echo /usr/bin
  exit 0
fi

# --- 3. a private folder
mkdir -p "$prefix"
exec 9>"$prefix/.lock"
command -v flock >/dev/null && flock 9
if [ "$(cat "$prefix/.complete" 2>/dev/null)" = "$layout" ]; then # another run made it
  echo "$prefix/emscripten"
  exit 0
fi
find "$prefix" -mindepth 1 -maxdepth 1 ! -name .lock -exec rm -rf {} +
work=$prefix/.work
mkdir -p "$work"/apt/{lists,cache/archives}/partial "$work"/{etc/empty.d,debs}

# The mirror: where this machine's apt gets its own suite from.
# shellcheck source=/dev/null
codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
# shellcheck disable=SC2016 # the fields are for apt to fill in
mirror=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
  awk -v c="$codename" '$1 == c && $2 == "main" {print $3; exit}')
[ -n "$mirror" ] || die "apt has no source for $codename main"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
signed=; [ -r "$keyring" ] && signed="[signed-by=$keyring]"
echo "deb $signed $mirror $suite main" >"$work/etc/sources.list"
: >"$work/status"
cat >"$work/apt.conf" <<CONF
Dir::Etc::sourcelist "$work/etc/sources.list";
Dir::Etc::sourceparts "$work/etc/empty.d";
Dir::Etc::preferences "$work/etc/none";
Dir::Etc::preferencesparts "$work/etc/empty.d";
Dir::State "$work/apt";
Dir::State::lists "$work/apt/lists";
Dir::State::status "$work/status";
Dir::Cache "$work/apt/cache";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Sandbox::User "";
CONF
later() { APT_CONFIG=$work/apt.conf "$@"; }

say "reading the package list of $suite"
later apt-get -qq update >&2 || die "apt cannot read the suite $suite"
got=$(later apt-cache policy emscripten | awk '/Candidate:/ {print $2; exit}')
new_enough "$got" || die "$suite has emscripten ${got:-none}, not $min or later"
llvm=$(later apt-cache show --no-all-versions emscripten |
  sed -n 's/^Depends:.*clang-\([0-9]*\).*/\1/p')
[ -n "$llvm" ] || die "cannot tell which clang emscripten $got needs"

say "unpacking emscripten $got and binaryen from $suite"
(cd "$work/debs" && later apt-get -qq download emscripten binaryen node-acorn \
  libc6 libstdc++6 libgcc-s1 >&2)
skip=(--exclude=./usr/share/emscripten/test --exclude=./usr/share/doc --exclude=./usr/share/man)
[ "${EMSCRIPTEN_ALL:-}" = 1 ] ||
  skip+=(--exclude='*/wasm32-emscripten/lto' --exclude='*/wasm32-emscripten/lto-pic'
    --exclude='*/wasm32-emscripten/pic' --exclude='*-ww.a' --exclude='*-ww-*.a')
mkdir "$work/root"
for deb in "$work"/debs/*.deb; do
  dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$work/root" --no-same-owner "${skip[@]}"
done

triplet=$(cd "$work/root/usr/lib" && echo *-linux-gnu*)
mkdir -p "$prefix"/binaryen/{bin,libexec,lib}
mv "$work/root/usr/share/emscripten" "$prefix/emscripten"
# The JavaScript optimiser imports acorn, which a Node that is not Debian's
# looks for in node_modules only.
mkdir "$prefix/emscripten/node_modules"
mv "$work/root/usr/share/nodejs/acorn" "$prefix/emscripten/node_modules/acorn"
cp -a "$work/root/usr/lib/$triplet/." "$prefix/binaryen/lib/"
rm -rf "$prefix"/binaryen/lib/{gconv,audit} # libc's own, of no use here
loader=$(cd "$prefix/binaryen/lib" && echo ld-linux*.so.*)
for exe in "$work"/root/usr/bin/wasm-* "$work"/root/usr/bin/wasm2js; do
  name=${exe##*/}
  case $name in wasm-fuzz-* | wasm-shell | wasm-reduce) continue ;; esac
  mv "$exe" "$prefix/binaryen/libexec/$name"
  quirk=
  # Binaryen 120 aborts ("not implemented") when it folds a relaxed dot product
  # of constants, so it folds nothing where relaxed SIMD is on.
  [ "$name" != wasm-opt ] || quirk='case " $* " in *" --enable-relaxed-simd "*)
  set -- "$@" --skip-pass=precompute --skip-pass=precompute-propagate ;; esac'
  cat >"$prefix/binaryen/bin/$name" <<WRAP
#!/bin/sh
here='$prefix/binaryen'
$quirk
exec "\$here/lib/$loader" --library-path "\$here/lib" "\$here/libexec/$name" "\$@"
WRAP
  chmod +x "$prefix/binaryen/bin/$name"
done
"$prefix/binaryen/bin/wasm-opt" --version >&2

# --- LLVM, from this machine's own suite
tools=("clang-$llvm" "lld-$llvm" "llvm-$llvm")
llvm_root=/usr/lib/llvm-$llvm/bin
have_llvm() { [ -x "$1/clang++" ] && [ -x "$1/wasm-ld" ] && [ -x "$1/llvm-ar" ] && [ -x "$1/llvm-objcopy" ]; }
if ! have_llvm "$llvm_root"; then
  if "$can_install"; then
    [ "$(candidate "clang-$llvm")" != '(none)' ] || "${root[@]}" apt-get "${lock_wait[@]}" -qq update >&2
    say "apt-get install ${tools[*]}"
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get "${lock_wait[@]}" -qq -y --no-install-recommends install "${tools[@]}" >&2
  else
    # Not root: what apt would have installed is unpacked beside the rest.
    say "unpacking ${tools[*]} (not root)"
    mkdir "$work/llvm-debs" "$prefix/llvm"
    apt-get -o Debug::NoLocking=1 -s -qq --no-install-recommends install "${tools[@]}" |
      awk '$1 == "Inst" {v = $3; sub(/^\(/, "", v); print $2 "=" v}' >"$work/llvm-list"
    [ -s "$work/llvm-list" ] || die "apt has no ${tools[*]}"
    (cd "$work/llvm-debs" && xargs apt-get -o Dir::Cache="$work/apt/cache" -qq download >&2) <"$work/llvm-list"
    for deb in "$work"/llvm-debs/*.deb; do
      dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$prefix/llvm" --no-same-owner --exclude=./usr/share
    done
    llvm_root=$prefix/llvm/bin
    mkdir "$llvm_root"
    for exe in "$prefix/llvm/usr/lib/llvm-$llvm"/bin/*; do
      name=${exe##*/}
      printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' \
        "'$prefix/llvm/usr/lib/$triplet:$prefix/llvm/usr/lib/llvm-$llvm/lib'" "'$exe'" >"$llvm_root/$name"
      chmod +x "$llvm_root/$name"
    done
  fi
  have_llvm "$llvm_root" || die "no LLVM $llvm in $llvm_root"
fi

# Read by emcc from its own folder. The libraries that the package ships
# prebuilt are the cache; one that is missing is built into it on first use.
cat >"$prefix/emscripten/.emscripten" <<CONF
LLVM_ROOT = '$llvm_root'
BINARYEN_ROOT = '$prefix/binaryen'
NODE_JS = '$(command -v node)'
CACHE = '$prefix/emscripten/cache'
FROZEN_CACHE = False
CONF
rm -f "$prefix"/emscripten/cache/{*.lock,sanity.txt}
python3 -m compileall -q "$prefix/emscripten/tools" >/dev/null || true

# Proof before the stamp.
printf '#include <vector>\nint main() { std::vector<int> v{1, 2}; return v[1] - 2; }\n' >"$work/t.cc"
"$prefix/emscripten/em++" -O2 -msimd128 "$work/t.cc" -o "$work/t.mjs" >&2
node "$work/t.mjs"
rm -rf "$work"
echo "$layout" >"$prefix/.complete"
say "emscripten $got in $prefix"
echo "$prefix/emscripten"

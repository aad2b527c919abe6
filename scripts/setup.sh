#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Takes a bare Debian 12 or 13 machine to what rsmalloc needs to be built, tested
# and shown: Debian's prebuilt kernels, unpacked into a cache and not installed, and
# kernels that are built here for what those cannot show. It may be killed at any
# point and run again, and two runs at once wait for each other.

set -euo pipefail

# The distribution's tools, not what rustup or pyenv put first.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL=C
# What a make that called this, or a kernel developer's habits, would bring into
# the builds below.
unset MAKEFLAGS MFLAGS MAKELEVEL ARCH CROSS_COMPILE KBUILD_OUTPUT KCFLAGS KRUSTFLAGS RUSTFLAGS

here=$(dirname "$(readlink -f "$0")")
top=${here%/*}
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
# shellcheck source=scripts/versions.sh
. "$here/versions.sh"

usage()
{
	cat <<-END
	Usage: scripts/setup.sh                set up Debian's kernel (stock), to build rsmalloc and boot it
	       scripts/setup.sh kernel NAME    set up kernel NAME: ${kernels[*]}
	       scripts/setup.sh tests          install what the tests need besides a kernel
	       scripts/setup.sh packaging      install what builds the Debian package and tests its installation
	       scripts/setup.sh env [NAME]     print shell assignments for kernel NAME (stock), as in
	           eval "\$(scripts/setup.sh env)" && make "\${RSMALLOC_MAKE_ARGS[@]}"

	The kernels stock, stock-rt, stock-arm64 and stock-arm64-16k are Debian's. The
	others are built here, for virtual machines only. Packages are installed by apt,
	as root; all else is kept in
	$cache (XDG_CACHE_HOME moves it).
	To undo it all: apt-get purge \$(cat $new_packages); rm -r $cache
	END
}

# --- What is wanted, and where it goes ---------------------------------------

cache=${XDG_CACHE_HOME:-${HOME:?must be set, or XDG_CACHE_HOME}/.cache}/rsmalloc
new_packages=$cache/installed-packages
kernels=(stock stock-rt stock-arm64 stock-arm64-16k plain)
for fragment in "$here"/kernels/*.fragment; do
	fragment=${fragment##*/}
	kernels+=("${fragment%.fragment}")
done

# How long to wait for another run, or for another user of dpkg.
patience=${RSMALLOC_SETUP_PATIENCE:-3600}

# What builds the module for a prebuilt kernel and boots it
packages=(
	make "libclang1-$LLVM_MAJOR" libc6-dev kmod pahole xz-utils ca-certificates
	python3 python3-venv qemu-system-x86 busybox-static file procps
)

# What builds a kernel, besides
kernel_packages=(
	"clang-$LLVM_MAJOR" "lld-$LLVM_MAJOR" "llvm-$LLVM_MAJOR" flex bison bc libelf-dev gcc
)

# What the tests need, besides
test_packages=(stress-ng rsync shellcheck git gcc)

# What builds the Debian package, and a Debian to install it on
packaging_packages=(build-essential debhelper dh-dkms lintian xz-utils mmdebstrap e2fsprogs qemu-system-x86)

choose_by_distribution()
{
	local ID='' VERSION_ID='' VERSION_CODENAME=''

	if [[ -r /etc/os-release ]]; then
		. /etc/os-release
	fi
	case $ID-$VERSION_ID in
	debian-12)
		# rustc and bindgen proper are too old for the kernel here. The
		# -web packages follow the newer releases that browsers need.
		packages+=(rustc-web rust-web-src rustfmt-web cargo-web)
		test_packages+=(rust-web-clippy)
		packaging_packages+=(cargo-web)
		bindgen=$cache/bindgen-$BINDGEN_VERSION/bin/bindgen
		;;
	debian-13)
		packages+=(rustc rust-src rustfmt bindgen)
		test_packages+=(cargo rust-clippy)
		packaging_packages+=(cargo)
		bindgen=/usr/bin/bindgen
		;;
	*)
		die "this is ${ID:-an unknown system} $VERSION_ID; the set-up knows Debian 12 and 13." \
		    "Elsewhere, pass the headers of a $KERNEL_SERIES kernel to make as KDIR=, and its source as KSRC=."
		;;
	esac
	[[ $(uname -m) == x86_64 ]] || die "this is a $(uname -m) machine; the set-up knows x86-64"

	suite=$VERSION_CODENAME
	suites_wanted="The set-up needs Debian's suites $suite, $suite-updates and $suite-security (component main). Add the
missing ones to /etc/apt/sources.list or /etc/apt/sources.list.d, and run this again."
	venv=$cache/virtme-ng-$VIRTME_NG_VERSION-cached-$ID$VERSION_ID
	tools=(RUSTC=/usr/bin/rustc HOSTRUSTC=/usr/bin/rustc "BINDGEN=$bindgen")
}

# Sorts out what kernel $1 is: Debian's name of its flavour, and of its headers
# that all flavours share.
choose_kernel()
{
	kernel=$1 arch=x86_64 cross='' flavour='' common=common apt_options=() guest_root=''
	case $kernel in
	stock) flavour=amd64 ;;
	stock-rt) flavour=rt-amd64 common=common-rt ;;
	stock-arm64) arch=arm64 flavour=arm64 ;;
	stock-arm64-16k) arch=arm64 flavour=arm64-16k ;;
	*)
		packages+=("${kernel_packages[@]}")
		tools+=("LLVM=-$LLVM_MAJOR" RUSTDOC=/usr/bin/rustdoc)
		;;
	esac
	tools+=(RUSTFMT=/usr/bin/rustfmt CLIPPY_DRIVER=/usr/bin/clippy-driver)
	if [[ $arch == arm64 ]]; then
		cross=-aarch64-linux-gnu
		packages+=(qemu-system-arm gcc-aarch64-linux-gnu libc6-dev-arm64-cross)
		tools+=(ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu-)
		# The machine's apt does not know this architecture and need not: apt
		# works in a folder of our own.
		apt_root=$cache/apt-arm64
		guest_root=$cache/guest-arm64-$suite
		apt_options=(
			-o APT::Architecture=arm64 -o APT::Architectures=arm64
			-o "Dir::State=$apt_root" -o "Dir::State::status=/dev/null" -o "Dir::Cache=$apt_root"
		)
	fi
}

missing_packages()
{
	local package status
	local -A state=()

	while read -r package status; do
		state[$package]=$status
	done < <(dpkg-query -W -f '${Package} ${db:Status-Abbrev}\n' "${packages[@]}" 2>/dev/null)
	for package in "${packages[@]}"; do
		[[ ${state[$package]:-} == ii ]] || echo "$package"
	done
}

# The flavour's fragment over the plain one: a symbol's last mention counts. User
# Mode Linux has next to nothing of what the plain kernel has for its machine.
merged_fragment()
{
	local files=("$top/.config.fragment")

	case $1 in
	plain) ;;
	uml) files=("$here/kernels/uml.fragment") ;;
	*) files+=("$here/kernels/$1.fragment") ;;
	esac
	awk 'match($0, /CONFIG_[A-Za-z0-9_]+(=| is not set)/) {
		symbol = substr($0, RSTART, RLENGTH)
		sub(/=| is not set/, "", symbol)
		if ($0 ~ "^" symbol "=")
			line = $0
		else if ($0 ~ "^# " symbol " is not set")
			line = symbol "=n"
		else
			next
		if (!(symbol in value))
			order[++n] = symbol
		value[symbol] = line
	}
	END { for (i = 1; i <= n; i++) print value[order[i]] }' "${files[@]}"
}

# The newest version of Debian's kernel of this flavour that apt knows.
newest_abi()
{
	local abi

	while read -r abi; do
		if [[ -n $(image_package "$abi") ]]; then
			echo "$abi"
			return
		fi
	done < <(apt-cache "${apt_options[@]}" pkgnames "linux-headers-$KERNEL_SERIES." 2>/dev/null |
		sed -nE "s/^linux-headers-([^-]+)-$flavour$/\1/p" | sort -rV)
}

# The archive has each image without a signature, with one a few days later, and
# need not have both.
image_package()
{
	apt-cache "${apt_options[@]}" policy "linux-image-$1-$flavour"{-unsigned,} 2>/dev/null |
		awk '/^[^ ]/ { name = $1 } / Candidate: [0-9]/ { sub(/:$/, "", name); print name; exit }'
}

# newest PREFIX: the newest complete entry of the cache with this name, if any.
newest()
{
	local stamp entries=()

	for stamp in "$1"*/.complete; do
		[[ ! -e $stamp ]] || entries+=("${stamp%/.complete}")
	done
	((!${#entries[@]})) || printf '%s\n' "${entries[@]}" | sort -V | tail -n 1
}

# Everything that decides what a kernel build yields.
kernel_recipe()
{
	echo "linux-source $source_version"
	/usr/bin/rustc --version
	"clang-$LLVM_MAJOR" --version | head -n 1
	"$bindgen" --version
	merged_fragment "$kernel"
}

# The kernel's source: the one that is in the cache already, for any release of
# the series serves; else what the machine has installed; else the archive's.
name_source()
{
	local prefix=$1

	ksrc=$(newest "$cache/$prefix-")
	if [[ -n $ksrc ]]; then
		source_version=$(<"$ksrc/.version")
		return
	fi
	source_version=$(dpkg-query -W -f '${Version}' "linux-source-$KERNEL_SERIES" 2>/dev/null) ||
		source_version=$(apt-cache policy "linux-source-$KERNEL_SERIES" | awk '$1 == "Candidate:" { print $2 }')
	ksrc=$cache/$prefix-${source_version//[~:]/-}
}

# Says where the kernel and its source are to be. Possible only once the packages
# are there. With "known", it is the newest that is there, else the newest that
# can be had.
name_kernel()
{
	local abi hash

	if [[ -z $flavour ]]; then
		name_source linux-source
		hash=$(kernel_recipe | sha256sum)
		kdir=$cache/kernel-$kernel-${source_version%%-*}-${hash:0:12}
		place=$kdir image=$kdir/arch/x86/boot/bzImage
		[[ $kernel != uml ]] || image=$kdir/linux
		return
	fi
	name_source linux-parts
	place=$(newest "$cache/$kernel-$KERNEL_SERIES.")
	if [[ ${1:-} != known ]]; then
		abi=$(newest_abi)
		[[ -z $abi ]] || place=$cache/$kernel-$abi
	fi
	abi=${place##*/"$kernel"-}
	kdir=$place/usr/src/linux-headers-$abi-$flavour
	image=$place/boot/vmlinuz-$abi-$flavour
}

# --- Steps, each in an entry of its own --------------------------------------

# Reports on a running step: every 15 seconds, or on a terminal every second on
# one line that the next report overwrites.
report_progress()
{
	local name=$1 log=$2 start=$3 every=15 before='' after='\n' last

	if [[ -t 1 ]]; then
		every=1 before='\r' after='\e[K'
	fi
	# A killed run takes its reporter along.
	while sleep "$every" >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
		last=$(tail -n 1 "$log" | tr -s ' \t\r' ' ' | cut -c 1-50)
		# shellcheck disable=SC2059 # the frame is ours
		printf "$before  %s: %s, %d lines of log, now: %s$after" "$name" \
			"$(duration $((SECONDS - start)))" "$(wc -l <"$log")" "$last"
	done
}

# step NAME COMMAND...: runs the command with its output in a log of its own.
step()
{
	local name=$1 log start=$SECONDS status
	shift

	log=$(log_of "$name")
	echo "$name ..."
	report_progress "$name" "$log" "$start" {lock}>&- &
	reporter=$!
	# Not in a condition, which would switch errexit off inside. A subshell,
	# so that the step completes its entry even if this shell is killed.
	set +e
	(
		set -e
		"$@"
	) >>"$log" 2>&1 </dev/null
	status=$?
	set -e
	kill "$reporter" 2>/dev/null || true
	wait "$reporter" 2>/dev/null || true
	reporter=''
	[[ ! -t 1 ]] || printf '\r\e[K'
	if ((status)); then
		tail -n 25 "$log" >&2
		die "$name failed after $(duration $((SECONDS - start))); the whole log is $log"
	fi
	echo "$name: done in $(duration $((SECONDS - start)))"
}

# Starts an empty log.
log_of()
{
	local log=$cache/logs/${1// /-}.log

	mkdir -p "$cache/logs"
	: >"$log"
	echo "$log"
}

reporter='' background=''
# What was started goes down with this shell, unless that is killed.
stop()
{
	[[ -z $reporter ]] || kill "$reporter" 2>/dev/null || true
	[[ -z $background ]] || kill -- "-$background" 2>/dev/null || true
}
interrupted()
{
	[[ ! -t 1 ]] || printf '\r\e[K'
	echo "setup.sh: interrupted; run it again to go on where it was" >&2
	exit "$1"
}
trap stop EXIT
trap 'interrupted 130' INT
trap 'interrupted 143' TERM HUP

complete() { [[ -e $1/.complete ]]; }

# fill DIR COMMAND...: the stamp comes last, so a directory without one is what
# an interrupted run left behind, and is started afresh.
fill()
{
	local dir=$1
	shift

	rm -rf "$dir"
	mkdir -p "$dir"
	"$@"
	touch "$dir/.complete"
}

need_space()
{
	local dir=$1 mib=$2 free

	free=$(df -BM --output=avail "$dir" | tail -n 1 | tr -dc 0-9)
	((free >= mib)) ||
		die "$dir has $free MB left, and $3 need about $mib MB: make room$4"
}

apt=(apt-get -y -o "DPkg::Lock::Timeout=$patience" -o Acquire::Retries=3 -o APT::Sandbox::User=root)

# update_lists [OPTION...]: what packages there are. It is the first thing that needs
# the network, so it says what to do without.
update_lists()
{
	local log

	log=$(log_of "lists of packages")
	echo "reading the lists of packages ..."
	"${apt[@]}" "$@" update >"$log" 2>&1 </dev/null || true
	grep -qE '^(Get|Hit):' "$log" || {
		grep '^[EW]:' "$log" | head -n 3 >&2
		die "no package source of this machine answers. The set-up needs the network: if it is there, see what" \
		    "\"apt-get update\" says (behind a proxy, set http_proxy and https_proxy)."
	}
	! grep -qE '^(Err|W|E):' "$log" || echo "some package sources do not answer; trying with the others"
}

install_packages()
{
	local deadline=$((SECONDS + patience)) output

	# What postinst scripts start in the background must not keep our lock;
	# dpkg has one of its own against an orphaned apt-get.
	exec {lock}>&-
	export DEBIAN_FRONTEND=noninteractive

	# A run that was killed inside dpkg leaves packages half configured,
	# and apt-get refuses to work until that is mended. Unlike apt-get,
	# dpkg does not wait for a lock.
	until output=$(dpkg --configure -a 2>&1); do
		echo "$output"
		if [[ $output != *"locked by another process"* ]] || ((SECONDS >= deadline)); then
			break
		fi
		echo "waiting for it to finish ..."
		sleep 5
	done
	"${apt[@]}" install --no-install-recommends "${missing[@]}"
}

# Says what is going to be installed and how to undo it, and notes it.
announce_packages()
{
	local new=() package sizes mb

	mapfile -t new < <(apt-get -s install --no-install-recommends "${missing[@]}" | awk '$1 == "Inst" && $3 !~ /^\[/ { print $2 }')
	sizes=$(apt-get --assume-no install --no-install-recommends "${missing[@]}" |
		sed -nE 's/^Need to get (.*) of archives\./download \1/p; s/^After this operation, (.*) of additional.*/\1 on the disk/p' |
		paste -sd,) || true
	echo "packages to install: ${missing[*]}"
	echo "  with what they need: ${#new[@]} packages, ${sizes//,/, }"
	for package in ${new[@]+"${new[@]}"}; do
		grep -sqxF "$package" "$new_packages" || echo "$package" >>"$new_packages"
	done
	echo "  to undo it: apt-get purge \$(cat $new_packages)"
	mb=$(awk '$2 ~ /^[kMG]B$/ { print int($1 * ($2 == "GB" ? 1000 : $2 == "MB" ? 1 : 0.001)) + 1 }' <<<"${sizes##*,}")
	need_space /usr "${mb:-0}" "the packages" "."
}

# Says what to do about packages that the machine's package sources lack.
check_candidates()
{
	local absent=() package

	for package in "${missing[@]}"; do
		[[ $(apt-cache policy "$package") == *Candidate:\ [0-9]* ]] || absent+=("$package")
	done
	((!${#absent[@]})) ||
		die "no package source of this machine has ${absent[*]}. $suites_wanted"
}

# Not optimised: it runs for seconds, and would be built for a minute.
build_bindgen()
{
	CARGO_PROFILE_RELEASE_OPT_LEVEL=0 RUSTC=/usr/bin/rustc /usr/bin/cargo install --locked --root "$1" \
		--target-dir "$1/target" --no-default-features --features runtime "bindgen-cli@$BINDGEN_VERSION"
	rm -rf "$1/target"
}

# start NAME COMMAND...: in the background, where the processors are idle while
# other steps wait for the network. A process group of its own, to be ended as a whole.
start()
{
	local name=$1
	shift

	background_log=$(log_of "$name")
	set -m
	"$@" >"$background_log" 2>&1 </dev/null &
	background=$!
	set +m
}

# Waits for what start() started, as a step.
follow()
{
	tail -n +1 -s 0.2 --pid="$background" -f "$background_log"
	complete "$1"
}

# The files of its guests' root do not change, but without being told so 9p reads
# them each time anew. virtme-ng has no option for that where it makes an initramfs.
install_virtme_ng()
{
	/usr/bin/python3 -m venv "$1"
	"$1/bin/pip" install --disable-pip-version-check "virtme-ng==$VIRTME_NG_VERSION"
	sed -i 's|access=any,msize=[0-9]* /dev/root /newroot|cache=loose,&|' \
		"$1"/lib/python3*/site-packages/virtme/mkinitramfs.py
}

# download DIR PACKAGE...: Debian packages, into a folder. Lists that are old may name
# what the archive no longer has.
download()
(
	mkdir -p "$1"
	cd "$1"
	shift
	"${apt[@]}" "${apt_options[@]}" download "$@" && exit
	((EUID == 0 || ${#apt_options[@]})) ||
		die "these packages could not be downloaded. If the network is there, the package lists are old: run" \
		    "\"apt-get update\" as root, and this again."
	update_lists "${apt_options[@]}"
	"${apt[@]}" "${apt_options[@]}" download "$@"
)

# The same for this machine, whatever the kernel is for.
download_native()
{
	local apt_options=()

	download "$@"
}

# unpack_source DIR [PATH...]: the kernel's source or these parts of it, from the
# Debian package, which need not be installed.
unpack_source()
{
	local dir=$1 name=linux-source-$KERNEL_SERIES
	shift

	if [[ -e /usr/src/$name.tar.xz && $(dpkg-query -W -f '${Version}' "$name" 2>/dev/null) == "$source_version" ]]; then
		tar -xJf "/usr/src/$name.tar.xz" -C "$dir" --strip-components=1 "${@/#/$name/}"
	else
		download_native "$dir/deb" "$name=$source_version"
		dpkg-deb --fsys-tarfile "$dir"/deb/*.deb | tar -xO "./usr/src/$name.tar.xz" |
			tar -xJ -C "$dir" --strip-components=1 "${@/#/$name/}"
		rm -r "$dir/deb"
	fi
	echo "$source_version" >"$dir/.version"
}

# What the module, its tests and the memory model take of the kernel's source
source_parts=(
	Makefile .clippy.toml rust scripts/generate_rust_target.rs scripts/Makefile.compiler
	tools/memory-model tools/testing/selftests/lib.mk tools/testing/selftests/run_kselftest.sh
	tools/testing/selftests/kselftest tools/testing/selftests/kselftest.h
	tools/testing/selftests/kselftest_harness.h scripts/checkpatch.pl scripts/spelling.txt
	scripts/const_structs.checkpatch
)

# Unpacks Debian's kernel: its image, modules and headers.
unpack_kernel()
{
	local dir=$1 abi=${1##*/"$kernel"-} headers deb link target

	headers=linux-headers-$abi
	download "$dir/deb" "$(image_package "$abi")" "$headers-$flavour" "$headers-$common"
	# The tools of the headers run on the machine that builds.
	download_native "$dir/deb" "linux-kbuild-$abi"
	for deb in "$dir"/deb/*.deb; do
		dpkg-deb -x "$deb" "$dir"
	done
	rm -r "$dir/deb"
	# Modules are in /usr/lib from Debian 13 on.
	[[ -e $dir/lib ]] || ln -s usr/lib "$dir/lib"

	# What is absolute is meant for a kernel that is installed.
	sed -i "s,/usr/src/,$dir&," "$dir/usr/src/$headers-$flavour/Makefile"
	while IFS= read -r link; do
		target=$(readlink "$link")
		ln -sfn "$dir$target" "$link"
	done < <(find "$dir" -type l -lname '/*')
	/usr/sbin/depmod -b "$dir" "$abi-$flavour"
}

# Those that "env" no longer names. A build and a guest have the folder of theirs in
# the command line; grep has not, which would find itself.
remove_older_kernels()
{
	local dir

	for dir in "$cache/$kernel-$KERNEL_SERIES."*; do
		[[ $dir != "$place" && $(printf '%s\n' "$dir" "$place" | sort -V | tail -n 1) == "$place" ]] || continue
		if grep -qsF -f <(echo "$dir/") /proc/[0-9]*/cmdline; then
			echo "${dir##*/} is in use, and stays in $cache"
		else
			rm -rf "$dir"
			echo "removed ${dir##*/}: ${place##*/} is newer"
		fi
	done
}

# What the guest runs that cannot have this machine's root file system
guest_packages=(
	bash coreutils findutils grep sed mawk util-linux mount kmod procps busybox-static stress-ng
)

# Nothing of it is configured, for its programs do not run here: what the packages'
# scripts would have made is made by hand.
unpack_guest()
{
	local dir=$1 deb name

	rm -f "$apt_root"/archives/*.deb
	"${apt[@]}" "${apt_options[@]}" install --download-only --no-install-recommends "${guest_packages[@]}"
	mkdir -p "$dir"/usr/{bin,sbin,lib}
	for name in bin sbin lib; do
		ln -s "usr/$name" "$dir/$name"
	done
	for deb in "$apt_root"/archives/*.deb; do
		dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$dir"
	done
	rm -f "$apt_root"/archives/*.deb

	ln -sf bash "$dir/usr/bin/sh"
	ln -sf mawk "$dir/usr/bin/awk"
	for name in ip poweroff hostname; do
		[[ -e $dir/usr/sbin/$name || -e $dir/usr/bin/$name ]] || ln -s ../bin/busybox "$dir/usr/sbin/$name"
	done
	mkdir -p "$dir"/{dev,etc,opt,proc,root,run,srv,sys,tmp}
	echo root:x:0:0:root:/root:/bin/bash >"$dir/etc/passwd"
	echo root:x:0: >"$dir/etc/group"
	: >"$dir/etc/fstab"
	: >"$dir/etc/shadow"
}

# The compiler that the headers ask for, which need not be the default one.
kernel_compiler()
{
	apt-cache "${apt_options[@]}" show "linux-headers-$1-$flavour" | sed -nE 's/^Depends:.*\<(gcc-[0-9]+).*/\1/p' | head -n 1
}

# An option that Kconfig dropped for want of a dependency would otherwise be
# noticed only as a test that cannot work.
check_config()
{
	local dropped

	dropped=$(awk -F= '
		FNR == NR { value[$1] = substr($0, length($1) + 2); next }
		/^CONFIG_/ { actual[$1] = substr($0, length($1) + 2) }
		END {
			for (symbol in value) {
				got = symbol in actual ? actual[symbol] : "n"
				if (got != value[symbol])
					printf "  %s=%s was asked for, and is %s\n", symbol, value[symbol], got
			}
		}' "$1" "$2" | sort)
	[[ -z $dropped ]] || die "options did not take; look for what they depend on:"$'\n'"$dropped"
}

build_kernel()
{
	local kmake=(make -C "$ksrc" "O=$kdir" "${tools[@]}") image=bzImage base=$top/.config.fragment

	if [[ $kernel == uml ]]; then
		kmake+=(ARCH=um) image=linux base=$kdir/rsmalloc.fragment
	fi
	kernel_recipe >"$kdir/rsmalloc.recipe"
	merged_fragment "$kernel" >"$kdir/rsmalloc.fragment"
	"${kmake[@]}" rustavailable
	"${kmake[@]}" "KCONFIG_ALLCONFIG=$base" allnoconfig
	if [[ $kernel != plain && $kernel != uml ]]; then
		# On top of the plain kernel: in one step with allnoconfig,
		# EXPERT=y would switch off all that it makes optional.
		cat "$kdir/rsmalloc.fragment" >>"$kdir/.config"
		"${kmake[@]}" olddefconfig
	fi
	check_config "$kdir/rsmalloc.fragment" "$kdir/.config"
	# "modules" once, for Module.symvers.
	"${kmake[@]}" -j"$(nproc)" "$image" modules
}

# --- Putting it together -----------------------------------------------------

take_lock()
{
	mkdir -p "$cache"
	exec {lock}>"$cache/lock"
	if ! flock -n "$lock"; then
		echo "waiting for another set-up (or for what a killed one left running) to finish," \
		     "up to $(duration "$patience") ..."
		until flock -w 15 "$lock"; do
			((SECONDS < patience)) ||
				die "another set-up still holds $cache/lock after $(duration $SECONDS);" \
				    "see in $cache/logs what it does, and end it or run this again"
			echo "  still waiting: $(duration $SECONDS)"
		done
	fi
}

ready()
{
	[[ -z $(missing_packages) && -x $bindgen ]] || return
	complete "$venv" || return
	name_kernel "${1:-}"
	[[ -n $place ]] && complete "$ksrc" && complete "$place" || return
	[[ -z $guest_root ]] || complete "$guest_root"
}

# Everything else that may be missing is found out after this.
set_up_packages()
{
	local missing compiler=''

	if [[ -n $flavour ]]; then
		compiler=$(kernel_compiler "$(newest_abi)")
	fi
	packages+=(${compiler:+"$compiler$cross"})
	mapfile -t missing < <(missing_packages)
	((!${#missing[@]})) && return
	((EUID == 0)) ||
		die "packages are missing, and only root can install them:" \
		    "apt-get install --no-install-recommends ${missing[*]}"
	check_candidates
	announce_packages
	step "packages" install_packages
}

set_up()
{
	local mib=0

	if ((EUID == 0)); then
		update_lists
	fi
	if [[ -n $cross ]]; then
		mkdir -p "$apt_root/lists/partial" "$apt_root/archives/partial"
		update_lists "${apt_options[@]}"
	fi
	set_up_packages
	name_kernel
	[[ -n $place ]] || die "no package source of this machine has headers and image of a $KERNEL_SERIES kernel" \
		"of the flavour $flavour. $suites_wanted"

	# All of it, before the first step of minutes.
	[[ -x $bindgen ]] || mib=$((mib + 300))
	complete "$venv" || mib=$((mib + 50))
	complete "$ksrc" || mib=$((mib + (${#flavour} ? 200 : 2000)))
	complete "$place" || mib=$((mib + (${#flavour} ? 500 : 2500)))
	[[ -z $guest_root ]] || complete "$guest_root" || mib=$((mib + 250))
	need_space "$cache" "$mib" "what is downloaded and built" ", or point XDG_CACHE_HOME to a larger disk"

	if [[ ! -x $bindgen ]]; then
		start "bindgen" fill "${bindgen%/bin/*}" build_bindgen "${bindgen%/bin/*}"
	fi
	complete "$venv" ||
		step "virtme-ng $VIRTME_NG_VERSION" fill "$venv" install_virtme_ng "$venv"
	if ! complete "$ksrc"; then
		if [[ -n $flavour ]]; then
			step "parts of the kernel source $source_version" fill "$ksrc" unpack_source "$ksrc" "${source_parts[@]}"
		else
			step "kernel source $source_version" fill "$ksrc" unpack_source "$ksrc"
		fi
	fi
	if [[ -n $flavour ]] && ! complete "$place"; then
		step "kernel ${place##*/}" fill "$place" unpack_kernel "$place"
		remove_older_kernels
	fi
	if [[ -n $guest_root ]] && ! complete "$guest_root"; then
		step "programs of the arm64 guest" fill "$guest_root" unpack_guest "$guest_root"
	fi
	if [[ -n $background ]]; then
		step "bindgen $BINDGEN_VERSION" follow "${bindgen%/bin/*}"
		background=''
	fi
	if [[ -z $flavour ]] && ! complete "$place"; then
		echo "a kernel for virtual machines only is built, which takes five to fifteen minutes on two processors"
		step "kernel $kernel" fill "$place" build_kernel
	fi
}

print_env()
{
	ready known || {
		# Makes the caller's eval fail too, which would take nothing for success.
		echo false
		die "kernel \"$kernel\" is not set up: run scripts/setup.sh kernel $kernel"
	}
	local make_args=("KDIR=$kdir" "KSRC=$ksrc" "${tools[@]}")

	# Without the latter, Rust reaches the kernel's data through a table that this
	# architecture does not make for a module.
	[[ $kernel != uml ]] || make_args+=(ARCH=um KRUSTFLAGS=-Zdirect-access-external-data=yes)
	echo "RSMALLOC_KERNEL=${kernel@Q}"
	echo "RSMALLOC_ARCH=$arch"
	echo "RSMALLOC_KDIR=${kdir@Q}"
	echo "RSMALLOC_KSRC=${ksrc@Q}"
	echo "RSMALLOC_IMAGE=${image@Q}"
	[[ -z $guest_root ]] || echo "RSMALLOC_GUEST_ROOT=${guest_root@Q}"
	echo "RSMALLOC_VNG=${venv@Q}/bin/vng"
	echo "RSMALLOC_CARGO=/usr/bin/cargo"
	echo "RSMALLOC_RUSTC=/usr/bin/rustc"
	echo "RSMALLOC_MAKE_ARGS=(${make_args[*]@Q})"
}

command=${1:-kernel}

case $command in
kernel | env | tests | packaging) ;;
-h | --help | help)
	usage
	exit
	;;
*)
	usage >&2
	exit 2
	;;
esac
kernel=${2:-stock}
[[ " ${kernels[*]} " == *" $kernel "* ]] ||
	die "there is no kernel \"$kernel\"; there are: ${kernels[*]}"
# Kbuild's own limits.
[[ $cache == /* && $cache != *[[:space:]:]* ]] ||
	die "no kernel can be built in \"$cache\", because that is a relative path or has a space or a" \
	    "colon in it: set XDG_CACHE_HOME to another place"
[[ $top != *[[:space:]:]* ]] ||
	die "no module can be built in \"$top\", because that has a space or a colon in it: move this folder"

choose_by_distribution
case $command in
tests | packaging)
	packages=("${test_packages[@]}") flavour='' apt_options=()
	[[ $command == tests ]] || packages=("${packaging_packages[@]}")
	if [[ -n $(missing_packages) ]]; then
		take_lock
		((EUID)) || update_lists
		set_up_packages
	fi
	echo "$command: all packages are installed"
	exit
	;;
env)
	choose_kernel "$kernel"
	print_env
	exit
	;;
esac

choose_kernel "$kernel"
if ! ready; then
	take_lock
	set_up
fi
echo "set-up is complete: kernel \"$kernel\" in $kdir"

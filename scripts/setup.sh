#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Takes a bare Debian 12 or 13 machine to everything that rsmalloc needs to be
# built, tested and shown. It may be killed at any point and run again, and two
# runs at once wait for each other.

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
	Usage: scripts/setup.sh                install the tools, build the plain kernel
	       scripts/setup.sh kernel NAME    the same with kernel NAME: ${flavours[*]}
	       scripts/setup.sh env [NAME]     print shell assignments for kernel NAME (plain), as in
	           eval "\$(scripts/setup.sh env)" && make "\${RSMALLOC_MAKE_ARGS[@]}"

	Downloads and builds are kept in $cache
	(XDG_CACHE_HOME moves it); deleting that directory undoes them.
	END
}

# --- What is wanted, and where it goes ---------------------------------------

cache=${XDG_CACHE_HOME:-${HOME:?must be set, or XDG_CACHE_HOME}/.cache}/rsmalloc
flavours=(plain)
for fragment in "$here"/kernels/*.fragment; do
	fragment=${fragment##*/}
	flavours+=("${fragment%.fragment}")
done

# How long to wait for another run, or for another user of dpkg.
patience=${RSMALLOC_SETUP_PATIENCE:-3600}

packages=(
	# The kernel and its modules
	"linux-source-$KERNEL_SERIES" "clang-$LLVM_MAJOR" "lld-$LLVM_MAJOR"
	"llvm-$LLVM_MAJOR" "libclang-$LLVM_MAJOR-dev" make flex bison bc
	libc6-dev libelf-dev kmod xz-utils
	# What builds bindgen and installs virtme-ng
	ca-certificates gcc python3 python3-venv
	# The tests and the demonstration
	qemu-system-x86 stress-ng rsync shellcheck git procps
)

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
		packages+=(rustc-web rust-web-src rust-web-clippy rustfmt-web cargo-web)
		bindgen=$cache/bindgen-$BINDGEN_VERSION/bin/bindgen
		;;
	debian-13)
		packages+=(rustc rust-src rust-clippy rustfmt cargo bindgen)
		bindgen=/usr/bin/bindgen
		;;
	*)
		die "this is ${ID:-an unknown system} $VERSION_ID; the set-up knows Debian 12 and 13." \
		    "Elsewhere, build a $KERNEL_SERIES kernel with CONFIG_RUST=y yourself (.config.fragment says" \
		    "what it needs) and pass it to make as KDIR=."
		;;
	esac
	[[ $(uname -m) == x86_64 ]] || die "this is a $(uname -m) machine; the set-up knows x86-64"

	suite=$VERSION_CODENAME
	venv=$cache/virtme-ng-$VIRTME_NG_VERSION-$ID$VERSION_ID
	tools=(
		"LLVM=-$LLVM_MAJOR" RUSTC=/usr/bin/rustc HOSTRUSTC=/usr/bin/rustc
		RUSTDOC=/usr/bin/rustdoc RUSTFMT=/usr/bin/rustfmt
		CLIPPY_DRIVER=/usr/bin/clippy-driver "BINDGEN=$bindgen"
	)
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

# Everything that decides what a kernel build yields.
kernel_recipe()
{
	echo "linux-source $source_version"
	/usr/bin/rustc --version
	"clang-$LLVM_MAJOR" --version | head -n 1
	"$bindgen" --version
	merged_fragment "$1"
}

# Names the source and the kernel after what went into them. Possible only once
# the packages and bindgen are there.
name_kernel()
{
	local hash

	source_version=$(dpkg-query -W -f '${Version}' "linux-source-$KERNEL_SERIES")
	ksrc=$cache/linux-source-${source_version//[~:]/-}
	hash=$(kernel_recipe "$1" | sha256sum)
	kdir=$cache/kernel-$1-${source_version%%-*}-${hash:0:12}
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
	local name=$1 log reporter start=$SECONDS status
	shift

	log=$cache/logs/${name// /-}.log
	mkdir -p "$cache/logs"
	echo "$name ..."
	: >"$log"
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
	[[ ! -t 1 ]] || printf '\r\e[K'
	if ((status)); then
		tail -n 25 "$log" >&2
		die "$name failed after $(duration $((SECONDS - start))); the whole log is $log"
	fi
	echo "$name: done in $(duration $((SECONDS - start)))"
}

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
		die "$dir has $free MiB left, and $3 needs about $mib MiB: make room," \
		    "or point XDG_CACHE_HOME to a larger disk"
}

install_packages()
{
	local deadline=$((SECONDS + patience)) output
	local apt=(apt-get -y -o "DPkg::Lock::Timeout=$patience" -o Acquire::Retries=3)

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
	"${apt[@]}" update || echo "some package sources do not answer; trying with the others"
	check_candidates
	"${apt[@]}" install --no-install-recommends "${missing[@]}"
}

# Says what to do about packages that the machine's package sources lack.
check_candidates()
{
	local absent=() package

	for package in "${missing[@]}"; do
		[[ $(apt-cache policy "$package") == *Candidate:\ [0-9]* ]] || absent+=("$package")
	done
	((!${#absent[@]})) ||
		die "no package source of this machine has ${absent[*]}. The set-up needs Debian's suites" \
		    "$suite, $suite-updates and $suite-security (component main). Add the missing ones to" \
		    "/etc/apt/sources.list or /etc/apt/sources.list.d, and run this again."
}

build_bindgen()
{
	RUSTC=/usr/bin/rustc /usr/bin/cargo install --locked --root "$1" \
		--target-dir "$1/target" "bindgen-cli@$BINDGEN_VERSION"
	rm -rf "$1/target"
}

install_virtme_ng()
{
	/usr/bin/python3 -m venv "$1"
	"$1/bin/pip" install --disable-pip-version-check "virtme-ng==$VIRTME_NG_VERSION"
}

unpack_source()
{
	tar -xJf "/usr/src/linux-source-$KERNEL_SERIES.tar.xz" -C "$1" --strip-components=1
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

	if [[ $1 == uml ]]; then
		kmake+=(ARCH=um) image=linux base=$kdir/rsmalloc.fragment
	fi
	kernel_recipe "$1" >"$kdir/rsmalloc.recipe"
	merged_fragment "$1" >"$kdir/rsmalloc.fragment"
	"${kmake[@]}" rustavailable
	"${kmake[@]}" "KCONFIG_ALLCONFIG=$base" allnoconfig
	if [[ $1 != plain && $1 != uml ]]; then
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
	name_kernel "$1"
	complete "$ksrc" && complete "$kdir"
}

set_up()
{
	local flavour=$1 missing

	mapfile -t missing < <(missing_packages)
	if ((${#missing[@]})); then
		((EUID == 0)) ||
			die "packages are missing, and only root can install them:" \
			    "apt-get install --no-install-recommends ${missing[*]}"
		need_space /usr $((${#missing[@]} * 120)) "installing the packages"
		echo "packages to install: ${missing[*]}"
		step "packages" install_packages
	fi

	if [[ ! -x $bindgen ]]; then
		need_space "$cache" 1000 "building bindgen"
		step "bindgen $BINDGEN_VERSION" fill "${bindgen%/bin/*}" build_bindgen "${bindgen%/bin/*}"
	fi
	complete "$venv" ||
		step "virtme-ng $VIRTME_NG_VERSION" fill "$venv" install_virtme_ng "$venv"

	name_kernel "$flavour"
	if ! complete "$ksrc"; then
		need_space "$cache" 2500 "unpacking the kernel source"
		step "kernel source $source_version" fill "$ksrc" unpack_source "$ksrc"
	fi
	if ! complete "$kdir"; then
		need_space "$cache" 2500 "building the kernel"
		echo "a kernel build takes five to fifteen minutes on two processors"
		step "kernel $flavour" fill "$kdir" build_kernel "$flavour"
	fi
}

print_env()
{
	ready "$1" || {
		# Makes the caller's eval fail too, which would take nothing for success.
		echo false
		die "kernel \"$1\" is not set up: run scripts/setup.sh${1/#/ kernel }"
	}
	local make_args=("KDIR=$kdir" "${tools[@]}")

	# Without the latter, Rust reaches the kernel's data through a table that this
	# architecture does not make for a module.
	[[ $1 != uml ]] || make_args+=(ARCH=um KRUSTFLAGS=-Zdirect-access-external-data=yes)
	echo "RSMALLOC_KDIR=${kdir@Q}"
	echo "RSMALLOC_KSRC=${ksrc@Q}"
	echo "RSMALLOC_VNG=${venv@Q}/bin/vng"
	echo "RSMALLOC_CARGO=/usr/bin/cargo"
	echo "RSMALLOC_RUSTC=/usr/bin/rustc"
	echo "RSMALLOC_MAKE_ARGS=(${make_args[*]@Q})"
}

command=${1:-kernel}
flavour=${2:-plain}

case $command in
kernel | env) ;;
-h | --help | help)
	usage
	exit
	;;
*)
	usage >&2
	exit 2
	;;
esac
[[ " ${flavours[*]} " == *" $flavour "* ]] ||
	die "there is no kernel \"$flavour\"; there are: ${flavours[*]}"
# Kbuild's own limits.
[[ $cache == /* && $cache != *[[:space:]:]* ]] ||
	die "no kernel can be built in \"$cache\", because that is a relative path or has a space or a" \
	    "colon in it: set XDG_CACHE_HOME to another place"

choose_by_distribution
if [[ $command == env ]]; then
	print_env "$flavour"
	exit
fi

if ! ready "$flavour"; then
	take_lock
	set_up "$flavour"
fi
echo "set-up is complete: Linux $source_version, kernel \"$flavour\" in $kdir"

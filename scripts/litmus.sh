#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs the litmus tests of the zspage lock under herd7, in the kernel's own memory
# model. A test must come out as it says after "Result:", without a data race; and
# with any one of the operations after "Needs:" made relaxed, what was impossible
# must become possible, or the test would pass without looking.
#
# Where there is no herd7, it is taken from Debian's unstable suite, which alone
# has it, into the cache; the system's package sources stay as they are.

set -euo pipefail

export PATH=/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL=C

here=$(dirname "$(readlink -f "$0")")
top=${here%/*}
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"

cache=${XDG_CACHE_HOME:-${HOME:?must be set, or XDG_CACHE_HOME}/.cache}/rsmalloc
tests=("$top"/tools/testing/litmus/*.litmus)
# What the kernel's memory model asks for, see its README.
oldest_herd=7.52

usage()
{
	cat <<-END
	Usage: scripts/litmus.sh [KERNEL_SOURCE]

	The memory model is taken from KERNEL_SOURCE/tools/memory-model; without an
	argument, from the source that scripts/setup.sh has unpacked.
	END
}

# --- herd7 -------------------------------------------------------------------

# skip REASON: ends the script with a result that says so.
skip()
{
	printf 'TAP version 13\n1..1\nok 1 litmus tests # SKIP %s\n' "$*"
	exit
}

# fetch DIR: unpacks herd7 into DIR, with the C library that it was built for.
fetch()
{
	local apt_dir=$1/apt mirror
	local apt=(
		timeout -k 10 300 apt-get -q
		-o "Dir::Etc::SourceList=$apt_dir/sources.list" -o Dir::Etc::SourceParts=/dev/null
		-o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null
		-o "Dir::State::Lists=$apt_dir/lists" -o "Dir::Cache=$apt_dir"
		-o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
		-o Acquire::Retries=3
		# A mirror that lags behind will do, as long as the signature is right.
		-o Acquire::Check-Valid-Until=false
		# apt's own user cannot write here.
		-o APT::Sandbox::User=root
	)

	rm -rf "$1"
	mkdir -p "$apt_dir/lists" "$1/root"
	# shellcheck disable=SC2016 # apt expands it
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' 'Created-By: Packages')
	mirror=${mirror%%$'\n'*}
	[[ $mirror ]] || die "apt knows no Debian mirror: run apt-get update"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" \
		>"$apt_dir/sources.list"
	"${apt[@]}" --error-on=any update
	cd "$apt_dir"
	"${apt[@]}" download herdtools7 libc6 libgmp10
	dpkg-deb -x libc6_*.deb "$1/root"
	dpkg-deb -x libgmp10_*.deb "$1/root"
	# All of the package would be 250 MB.
	dpkg-deb --fsys-tarfile herdtools7_*.deb |
		tar -x -C "$1/root" ./usr/bin/herd7 ./usr/share/herdtools7/herd
	rm -rf "$apt_dir"
	touch "$1/.complete"
}

# Sets herd to the command that runs herd7.
find_herd()
{
	local dir=$cache/herd7 library lock version

	if command -v herd7 >/dev/null; then
		herd=(herd7)
	else
		command -v apt-get >/dev/null || skip "there is neither herd7 nor apt-get to fetch it with"
		mkdir -p "$cache"
		exec {lock}>"$cache/herd7.lock"
		flock -n "$lock" || {
			echo "# waiting for another run to fetch herd7 ..."
			flock -w 900 "$lock" || skip "another run has been fetching herd7 for 15 minutes"
		}
		if [[ ! -e $dir/.complete ]]; then
			echo "# fetching herd7, 50 MB ..."
			# Not in a condition, which would switch errexit off inside.
			set +e
			(
				set -e
				fetch "$dir"
			) >"$cache/herd7.log" 2>&1 </dev/null
			set -e
			[[ -e $dir/.complete ]] || skip "herd7 cannot be fetched: $(tail -n 1 "$cache/herd7.log") (log: $cache/herd7.log)"
		fi
		exec {lock}>&-
		library=$(echo "$dir"/root/usr/lib/*-linux-gnu*)
		herd=(
			"$(echo "$library"/ld-linux*.so.*)" --library-path "$library"
			"$dir/root/usr/bin/herd7" -set-libdir "$dir/root/usr/share/herdtools7/herd"
		)
	fi
	version=$("${herd[@]}" -version 2>&1) || skip "herd7 does not start: $version"
	version=${version%%,*}
	[[ $(printf '%s\n' "$oldest_herd" "$version" | sort -V | head -n 1) == "$oldest_herd" ]] ||
		skip "herd7 is version $version, and the memory model needs $oldest_herd"
	echo "# herd7 $version, memory model of $ksrc"
}

# --- Tests -------------------------------------------------------------------

prepare_model()
{
	cp "$ksrc"/tools/memory-model/linux-kernel.* "$ksrc"/tools/memory-model/lock.cat "$work"
	# Defined, like this, only by later kernels.
	grep -q '^atomic_fetch_and_release(' "$work/linux-kernel.def" ||
		cat >>"$work/linux-kernel.def" <<-'END'

		atomic_fetch_and_relaxed(V,X) __atomic_fetch_op{once}(X,&,V)
		atomic_fetch_and_release(V,X) __atomic_fetch_op{release}(X,&,V)
		END
}

# Prints Never, Sometimes or Always, and what herd7 flags.
observe()
{
	local output

	output=$(cd "$work" && timeout -k 10 120 "${herd[@]}" -conf linux-kernel.cfg "$1" 2>&1) || true
	awk '/^Observation / { observation = $3 }
	     /^Flag / { flags = flags ", " $2 }
	     END { print observation ? observation flags : "no observation; herd7 says: " $0 }' <<<"$output"
}

result_of() { sed -n 's/.*Result: *\([A-Za-z]*\).*/\1/p' "$1" | head -n 1; }
needs_of() { sed -n 's/.*Needs: *//p' "$1"; }

# report NAME WANTED GOT
report()
{
	number=$((number + 1))
	if [[ $3 == "$2" ]]; then
		echo "ok $number $1"
	else
		printf 'not ok %d %s\n' "$number" "$1"
		printf '# wanted: %s\n# got: %s\n' "$2" "$3"
		failed=1
	fi
}

# The operations on the lock word, in C's spelling.
operations_of_lock()
{
	sed -n -E 's/.*\.(fetch_[a-z]+|compare_exchange)\([^:]*Ordering::([A-Za-z]+).*/atomic_\1_\L\2/p' \
		"$top/rust/lock.rs" | sed 's/compare_exchange/cmpxchg/' | sort -u | xargs
}

operations_of_tests() { grep -h -o -E 'atomic_[a-z_]+\(' "${tests[@]}" | tr -d '(' | sort -u | xargs; }

# Whether this herd7 and this model go together: the model's own tests say.
model_disagrees()
{
	local file got disagree=''

	for file in "$ksrc"/tools/memory-model/litmus-tests/*.litmus; do
		got=$(observe "$file")
		[[ ${got%%,*} == "$(result_of "$file")" ]] || disagree+="${file##*/} "
	done
	echo "${disagree:-none}"
}

run_test()
{
	local name=${1##*/} operation weakened

	name=${name%.litmus}
	report "$name" "$(result_of "$1")" "$(observe "$1")"
	for operation in $(needs_of "$1"); do
		weakened=$work/$name.litmus
		sed "s/\<$operation(/${operation%_*}_relaxed(/" "$1" >"$weakened"
		report "$name needs $operation" "Sometimes, data-race" "$(observe "$weakened")"
	done
}

case ${1:-} in
-h | --help)
	usage
	exit
	;;
-*)
	usage >&2
	exit 2
	;;
esac
if (($#)); then
	ksrc=$(readlink -f "$1")
else
	assignments=$("$here/setup.sh" env) || die "run scripts/setup.sh, or say where a kernel source is"
	eval "$assignments"
	ksrc=$RSMALLOC_KSRC
fi
[[ -e $ksrc/tools/memory-model/linux-kernel.def ]] ||
	die "$ksrc has no tools/memory-model: it is not a kernel source"

find_herd
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prepare_model

number=0
failed=0
plan=$((2 + ${#tests[@]}))
for file in "${tests[@]}"; do
	plan=$((plan + $(needs_of "$file" | wc -w)))
done
printf 'TAP version 13\n1..%d\n' "$plan"
report "the tests use the operations that the lock uses" "$(operations_of_lock)" "$(operations_of_tests)"
report "no test of the model itself comes out differently" none "$(model_disagrees)"
for file in "${tests[@]}"; do
	run_test "$file"
done
((!failed))

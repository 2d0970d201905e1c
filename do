#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Everything one does with a checkout; run it bare for the list.
set -euo pipefail
cd "$(dirname "$0")"

# What each part needs, as Debian (12 and later) names it, and nothing else.
packages_build=(gcc libc6-dev cmake ninja-build pkg-config
	libibverbs-dev libxxhash-dev liburcu-dev libboost-context-dev)
packages_test=(g++ python3 binutils libcmocka-dev)

jobs=${JOBS:-$(nproc)}
# Where the builds go; each sanitizer has its own beside it.
build=${BUILD_DIR:-build}

usage() {
	cat <<END
usage: ./do COMMAND

  ycsb     build, run YCSB's workloads A, B, C, D and F on the hash table in this
           process, show throughput and latency                     (about 2 minutes)
  performance
           run the library on a model of network cards, write the tables and the
           plot of docs/PERFORMANCE.md anew                         (about 5 minutes)
  test     build plainly, with the address and undefined-behaviour sanitizers and
           with the thread sanitizer, run every test; then see that they find bugs
           which were planted                                       (about 12 minutes)
  sim      simulated worlds with faults, from fresh seeds, for a minute; or
           sim SEED       one seed again          sim --crash       every death
           sim --bugs     planted bugs are found  sim --exhaustive  small scopes
           sim --help     everything else
  build    build the library and the programs into $build/
  format   format the C files with clang-format 14
  clean    remove what the other commands built

Needed Debian packages that are missing are installed first (as root; otherwise the
command to run is shown). Environment:
  JOBS=N          compile and test N at a time (default: the number of CPUs)
  BUILD_DIR=DIR   build there instead of in build/ (and DIR-address, -thread, -planted)
  PACKAGES=no     do not look at packages: what is needed is there in another way
END
}

say() {
	printf '\n== %s\n' "$*"
}

fail() {
	printf './do: %s\n' "$*" >&2
	exit 1
}

packages_need() {
	local missing=() package command
	[ "${PACKAGES:-yes}" != no ] || return 0
	if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
		say "This is no Debian; the build will say if it misses one of: $*"
		return 0
	fi
	for package in "$@"; do
		dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
			missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	command="apt-get install -y --no-install-recommends ${missing[*]}"
	if [ "$(id -u)" != 0 ]; then
		fail "these Debian packages are missing; install them, then run this again:
    sudo $command"
	fi
	say "Installing the Debian packages that are missing: ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq || say "apt-get update failed; trying with the package lists that are there"
	$command || fail "apt-get could not install them (see above)"
}

# build_in DIR SANITIZER TESTS [TARGET...]; with planted=ON, bugs in it (core/base/planted.h)
planted=OFF
build_in() {
	local dir=$1 sanitizer=$2 tests=$3
	shift 3
	cmake -S . -B "$dir" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DPTN_WERROR=ON \
		-DPTN_TESTS="$tests" -DPTN_SANITIZE="$sanitizer" -DPTN_PLANTED="$planted" >"$dir.log" 2>&1 ||
		{ cat "$dir.log"; fail "configuring $dir failed (see above)"; }
	rm -f "$dir.log"
	if [ -t 1 ]; then
		ninja -C "$dir" -j "$jobs" "$@" || fail "building $dir failed (see above)"
	else
		ninja -C "$dir" -j "$jobs" --quiet "$@" || fail "building $dir failed (see above)"
	fi
}

do_build() {
	packages_need "${packages_build[@]}"
	say "Building into $build/"
	build_in "$build" none OFF
	ls "$build"/libpatronus.so "$build"/tools/patronus-* "$build"/ycsb/patronus-ycsb 2>/dev/null || true
}

passed=0
failed=0
skipped=0

# suite DIR WHAT [CTEST ARGUMENT...]: run and add up; a failure does not keep the others from running.
suite() {
	local dir=$1 what=$2 report total=0 bad=0 out=0
	shift 2
	report=$PWD/$dir/report.xml
	case $dir in /*) report=$dir/report.xml ;; esac
	say "Testing $what"
	rm -f "$report"
	ctest --test-dir "$dir" --output-on-failure --no-tests=error --output-junit "$report" "$@" || true
	if [ -f "$report" ]; then
		total=$(sed -n 's/.*\ttests="\([0-9]*\)".*/\1/p' "$report" | head -1)
		bad=$(sed -n 's/.*\tfailures="\([0-9]*\)".*/\1/p' "$report" | head -1)
		out=$(sed -n 's/.*\tskipped="\([0-9]*\)".*/\1/p' "$report" | head -1)
	else
		bad=1
		total=1
	fi
	failed=$((failed + bad))
	skipped=$((skipped + out))
	passed=$((passed + total - bad - out))
}

do_test() {
	# The tables' own suite, ds, and the simulator have one thread only: nothing for the thread sanitizer.
	local start=$SECONDS threaded='unit|nic|mt|ycsb'
	packages_need "${packages_build[@]}" "${packages_test[@]}"
	say "Building plainly (1 of 4)"
	build_in "$build" none ON
	suite "$build" "the plain build" -j "$jobs"
	say "Building with the address and undefined-behaviour sanitizers (2 of 4)"
	build_in "$build-address" address ON
	suite "$build-address" "for memory errors and undefined behaviour" -L "^($threaded|ds|sim)\$" -j "$jobs"
	say "Building with the thread sanitizer (3 of 4)"
	build_in "$build-thread" thread ON
	suite "$build-thread" "for data races" -L "^($threaded)\$" -j "$jobs"
	say "Building with known bugs planted (4 of 4)"
	planted=ON build_in "$build-planted" none ON patronus-sim ds_test_hash_{reuse,model,crash,schedule}
	suite "$build-planted" "that the tests find them" -L '^planted$'
	say "Four builds tested in $((SECONDS - start)) s"
	echo "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
}

# One row of the table from YCSB's own lines, "[READ], 99thPercentileLatency(us), 12.3".
ycsb_row() {
	awk -F', ' -v name="$1" '
		$2 == "RunTime(ms)" { delete value } # the loading comes first, its numbers go
		{ value[$1 "," $2] = $3 }
		END {
			split("READ UPDATE INSERT READ-MODIFY-WRITE", kinds, " ")
			printf "%-9s %12.0f", name, value["[OVERALL],Throughput(ops/sec)"]
			for (i = 1; i <= 4; i++) {
				average = value["[" kinds[i] "],AverageLatency(us)"]
				tail = value["[" kinds[i] "],99thPercentileLatency(us)"]
				printf "  %9s %8s", average == "" ? "-" : sprintf("%.2f", average), \
					tail == "" ? "-" : sprintf("%.2f", tail)
			}
			printf "\n"
		}' "$2"
}

do_ycsb() {
	local workload results=$build/ycsb-results records=100000 operations=1000000 threads
	threads=$(nproc)
	[ "$threads" -le 4 ] || threads=4
	packages_need "${packages_build[@]}"
	say "Building into $build/"
	build_in "$build" none OFF patronus-ycsb
	mkdir -p "$results"
	say "YCSB on the hash table, in this process over the software network card:"
	echo "$records records of 1 KB, $operations operations, $threads client threads; latencies in us"
	printf '\n%-9s %12s  %18s  %18s  %18s  %18s\n' "" "" "read" "update" "insert" "read-modify-write"
	printf '%-9s %12s' workload ops/s
	printf '  %9s %8s' average "99 %" average "99 %" average "99 %" average "99 %"
	printf '\n'
	for workload in a b c d f; do
		"$build"/ycsb/patronus-ycsb bench hash -P "ycsb/workloads/workload$workload" \
			-p recordcount="$records" -p operationcount="$operations" \
			-p patronus.term.ms=5000 -threads "$threads" >"$results/$workload.txt" 2>"$results/$workload.log" || {
			cat "$results/$workload.txt" "$results/$workload.log"
			fail "workload $workload failed (see above)"
		}
		ycsb_row "${workload^^}" "$results/$workload.txt"
	done
	say "YCSB's full output is in $results/; more: $build/ycsb/patronus-ycsb --help"
}

do_sim() {
	packages_need "${packages_build[@]}" "${packages_test[@]}"
	case " $* " in *" --bugs "*) build=$build-planted planted=ON ;; esac
	say "Building into $build/"
	build_in "$build" none ON patronus-sim
	"$build"/tests/sim/patronus-sim --jobs "$jobs" "$@"
}

# The same numbers on every machine: the time is virtual.
do_performance() {
	local start=$SECONDS
	packages_need "${packages_build[@]}"
	say "Building into $build/"
	build_in "$build" none OFF patronus-model
	say "Running the model"
	"$build"/ycsb/patronus-model --document docs/PERFORMANCE.md --svg docs/contention.svg ||
		fail "the model failed (see above)"
	say "docs/PERFORMANCE.md and docs/contention.svg were written in $((SECONDS - start)) s"
}

do_format() {
	local program
	program=$(command -v clang-format-14 || command -v clang-format) ||
		fail "clang-format is missing: apt-get install clang-format-14"
	"$program" --version | grep -q 'version 14\.' ||
		fail "the tree is formatted with clang-format 14: apt-get install clang-format-14"
	find . -path './.*' -prune -o -path './build*' -prune -o -name '*.[ch]' -print0 |
		xargs -0 "$program" -i
}

do_clean() {
	rm -rf "$build" "$build-address" "$build-thread" "$build-planted"
}

case ${1:-} in
sim)
	shift
	do_sim "$@"
	;;
build | ycsb | performance | test | format | clean)
	command=$1
	shift
	[ $# = 0 ] || fail "$command takes no arguments; run ./do for help"
	"do_$command"
	;;
'' | help | -h | --help) usage ;;
*)
	usage >&2
	fail "unknown command '$1'"
	;;
esac

# SPDX-License-Identifier: MIT
# Everything comes from Debian; the reason for each:
#   libibverbs     the verbs structs and inline calls that the whole data path speaks
#   xxHash         key hash and block checksum (header only, inlined)
#   liburcu        intrusive lists of the node and the allocator
#   Boost.Context  the fiber switch, two C-callable assembly routines, linked statically
#   cmocka         unit tests
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

# ptn_dependency(PREFIX MODULE PACKAGE): a pkg-config module, or an error that says how to get it.
function(ptn_dependency prefix module package)
  pkg_check_modules(${prefix} IMPORTED_TARGET GLOBAL ${module})
  if(NOT ${prefix}_FOUND)
    message(FATAL_ERROR "${module} was not found; on Debian: apt-get install ${package}")
  endif()
endfunction()

ptn_dependency(IBVERBS libibverbs libibverbs-dev)
ptn_dependency(XXHASH libxxhash libxxhash-dev)
ptn_dependency(URCU liburcu-bp liburcu-dev)
if(PTN_TESTS)
  ptn_dependency(CMOCKA cmocka libcmocka-dev)
endif()
find_library(PTN_BOOST_CONTEXT NAMES libboost_context.a)
if(NOT PTN_BOOST_CONTEXT)
  message(FATAL_ERROR "libboost_context.a was not found; on Debian: apt-get install libboost-context-dev")
endif()

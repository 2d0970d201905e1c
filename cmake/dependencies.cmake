# Everything comes from Debian; the reason for each:
#   libibverbs  the verbs structs and inline calls that the whole data path speaks
#   xxHash      key hash and block checksum (header only, inlined)
#   liburcu     per-process caches of directories, read without locks
#   Boost.Context  the fiber switch, two C-callable assembly routines, linked statically
#   cmocka      unit tests
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(IBVERBS REQUIRED IMPORTED_TARGET libibverbs)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(URCU REQUIRED IMPORTED_TARGET liburcu-bp)
if(PTN_TESTS)
  pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
endif()
find_library(PTN_BOOST_CONTEXT NAMES libboost_context.a REQUIRED)

# SPDX-License-Identifier: MIT
# One interface target carries what every C file of the project is compiled with.
add_library(ptn_flags INTERFACE)
target_include_directories(ptn_flags INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
target_compile_definitions(ptn_flags INTERFACE _GNU_SOURCE)
target_compile_options(ptn_flags INTERFACE
  -Wall -Wextra -Wshadow -Wundef -Wvla -Wwrite-strings -Wpointer-arith -Wstrict-prototypes
  -Wmissing-prototypes -Wmissing-declarations -Wold-style-definition -Wredundant-decls
  -Wformat=2 -Wdouble-promotion -Wimplicit-fallthrough -Wconversion -Wsign-conversion
  -Wno-unused-parameter -fno-common -Werror=implicit-function-declaration
  -Werror=incompatible-pointer-types -Werror=return-type)
if(CMAKE_C_COMPILER_ID MATCHES "Clang") # messages end in arrays whose length the tests then fix
  target_compile_options(ptn_flags INTERFACE -Wno-gnu-variable-sized-type-not-at-end)
endif()
if(PTN_PLANTED)
  target_compile_definitions(ptn_flags INTERFACE PTN_PLANTED)
endif()
if(PTN_WERROR)
  target_compile_options(ptn_flags INTERFACE -Werror)
endif()
if(PTN_SANITIZE STREQUAL "address")
  target_compile_options(ptn_flags INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(ptn_flags INTERFACE -fsanitize=address,undefined)
elseif(PTN_SANITIZE STREQUAL "thread")
  target_compile_options(ptn_flags INTERFACE -fsanitize=thread -fno-omit-frame-pointer)
  target_link_options(ptn_flags INTERFACE -fsanitize=thread)
elseif(NOT PTN_SANITIZE STREQUAL "none")
  message(FATAL_ERROR "PTN_SANITIZE is '${PTN_SANITIZE}': use none, address or thread")
endif()

# Large frames touch every page on their way down, so that a fiber cannot step over its guard page.
if(PTN_SANITIZE STREQUAL "none")
  target_compile_options(ptn_flags INTERFACE -fstack-clash-protection)
endif()

# Assertions find our own bugs; users' builds leave them out, the sanitizers' keep them.
if(NOT PTN_SANITIZE STREQUAL "none")
  string(REPLACE "-DNDEBUG" "" CMAKE_C_FLAGS_RELWITHDEBINFO "${CMAKE_C_FLAGS_RELWITHDEBINFO}")
endif()

# ptn_layer(NAME DIR...): the object library of one layer, all .c files of its folders.
function(ptn_layer name)
  set(files)
  foreach(dir ${ARGN})
    file(GLOB found CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${dir}/*.c)
    list(APPEND files ${found})
  endforeach()
  if(files)
    add_library(${name} OBJECT ${files})
    target_link_libraries(${name} PRIVATE ptn_flags PkgConfig::IBVERBS PkgConfig::XXHASH PkgConfig::URCU Threads::Threads)
    if(PTN_SANITIZE STREQUAL "none") # the library runs on fibers of 64 KiB; a batch of 64 requests has 10
      target_compile_options(${name} PRIVATE -Wframe-larger-than=16384)
    endif()
    set_property(GLOBAL APPEND PROPERTY PTN_LAYERS ${name})
  endif()
endfunction()

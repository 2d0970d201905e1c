# SPDX-License-Identifier: MIT
# The library twice: shared for users, static (with internal symbols reachable) for tests and tools.
get_property(layers GLOBAL PROPERTY PTN_LAYERS)
set(objects)
foreach(layer ${layers})
  list(APPEND objects $<TARGET_OBJECTS:${layer}>)
endforeach()
add_library(patronus_static STATIC ${objects})
add_library(patronus SHARED ${objects})
foreach(target patronus patronus_static)
  set_target_properties(${target} PROPERTIES OUTPUT_NAME patronus)
  target_include_directories(${target} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:ptn_flags> $<BUILD_INTERFACE:PkgConfig::IBVERBS>
    $<BUILD_INTERFACE:PkgConfig::URCU> $<BUILD_INTERFACE:Threads::Threads>
    $<BUILD_INTERFACE:${PTN_BOOST_CONTEXT}> m)
endforeach()

# Only ptn_* leaves the shared library, each symbol with the release that brought it.
set(map ${PROJECT_SOURCE_DIR}/cmake/patronus.map)
target_link_options(patronus PRIVATE -Wl,--version-script=${map} -Wl,--as-needed -Wl,-z,relro -Wl,-z,now)
if(PTN_SANITIZE STREQUAL "none") # clang leaves a sanitizer's symbols to the program
  target_link_options(patronus PRIVATE -Wl,--no-undefined)
endif()
set_target_properties(patronus PROPERTIES LINK_DEPENDS ${map}
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR} EXPORT_NAME patronus)
add_library(patronus::patronus ALIAS patronus)

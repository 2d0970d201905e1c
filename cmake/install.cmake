# SPDX-License-Identifier: MIT
# What a user's build finds: the headers, both libraries, patronus.pc, and a CMake package with the
# target patronus::patronus. tests/check-install consumes each of them.
include(CMakePackageConfigHelpers)

install(TARGETS patronus patronus_static EXPORT patronus-targets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/patronus DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(FILES LICENSE README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})

# man/NAME.SECTION
file(GLOB pages CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/man/*.[1-8])
foreach(page ${pages})
  string(REGEX REPLACE ".*\\." "" section ${page})
  install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()

configure_file(cmake/patronus.pc.in ${PROJECT_BINARY_DIR}/patronus.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/patronus.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/patronus)
configure_package_config_file(cmake/patronus-config.cmake.in ${PROJECT_BINARY_DIR}/patronus-config.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/patronus-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/patronus-config.cmake
  ${PROJECT_BINARY_DIR}/patronus-config-version.cmake DESTINATION ${package_dir})
install(EXPORT patronus-targets NAMESPACE patronus:: DESTINATION ${package_dir})

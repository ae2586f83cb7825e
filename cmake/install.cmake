# What `cmake --install` puts where: the library with its headers for CMake and pkg-config, and the programs.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS dislock EXPORT dislock_targets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/dislock DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp")
install(FILES ${PROJECT_BINARY_DIR}/generated/dislock/errc.hpp DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/dislock)
foreach(program dislockd dislock_program)
  if(TARGET ${program})
    set_target_properties(${program} PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endforeach()

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/dislock)
install(EXPORT dislock_targets NAMESPACE dislock:: DESTINATION ${package} FILE dislock-targets.cmake)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/dislock-config.cmake.in
  ${PROJECT_BINARY_DIR}/dislock-config.cmake INSTALL_DESTINATION ${package})
# Before 1.0 a minor version may break what was.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/dislock-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/dislock-config.cmake ${PROJECT_BINARY_DIR}/dislock-config-version.cmake
  DESTINATION ${package})

file(RELATIVE_PATH DISLOCK_PREFIX_FROM_PC /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)  # so that the tree can be moved
configure_file(${CMAKE_CURRENT_LIST_DIR}/dislock.pc.in ${PROJECT_BINARY_DIR}/dislock.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/dislock.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# The vocabulary of our build files: one call per folder, dependencies spelled out.

# Warnings, sanitizers, compiler cache and linker, as one INTERFACE target that only our own targets use.
function(dislock_project_options)
  add_library(dislock_options INTERFACE)
  add_library(dislock::options ALIAS dislock_options)
  target_compile_features(dislock_options INTERFACE cxx_std_20)
  target_compile_options(dislock_options INTERFACE
    -Wall -Wextra -Werror
    # a shadowed `now` has already cost somebody a lock; g++ would also object to a parameter named like a member function
    $<IF:$<CXX_COMPILER_ID:GNU>,-Wshadow=local,-Wshadow>
    -Wnon-virtual-dtor
    -Wold-style-cast      # casts between ids and numbers must be visible
    -Woverloaded-virtual
    -Wimplicit-fallthrough
    $<$<CXX_COMPILER_ID:Clang>:-Wextra-semi;-Wunreachable-code-aggressive;-Wthread-safety>
    # g++ 12 reports false positives of these inside the standard library and Boost; and it wants a value for every
    # member behind a designated one, and braces around the `if` inside of GoogleTest's macros
    $<$<CXX_COMPILER_ID:GNU>:-Wno-missing-field-initializers;-Wno-dangling-else;-Wno-maybe-uninitialized;-Wno-restrict;-Wno-array-bounds;-Wno-stringop-overflow;-Wno-stringop-overread;-Wno-dangling-pointer>)
  target_compile_definitions(dislock_options INTERFACE
    BOOST_ASIO_NO_DEPRECATED
    BOOST_ASIO_SEPARATE_COMPILATION   # Asio and Beast are compiled once, in src/base/boost_sources.cpp
    BOOST_BEAST_SEPARATE_COMPILATION
    BOOST_ASIO_DISABLE_BOOST_COROUTINE)
  if(DISLOCK_SANITIZE)
    target_compile_options(dislock_options INTERFACE -fsanitize=${DISLOCK_SANITIZE} -fno-omit-frame-pointer
                                                     -fno-sanitize-recover=all)
    target_link_options(dislock_options INTERFACE -fsanitize=${DISLOCK_SANITIZE})
    if(DISLOCK_SANITIZE MATCHES undefined)
      # The check of vtables opens a pipe, and takes a process without free descriptors, which a test makes on
      # purpose, for a broken object.
      target_compile_options(dislock_options INTERFACE -fno-sanitize=vptr)
    endif()
  endif()
  if(DISLOCK_BUILD_FUZZ)
    target_compile_options(dislock_options INTERFACE -fsanitize=fuzzer-no-link)
    target_link_options(dislock_options INTERFACE -fsanitize=fuzzer-no-link)
  endif()

  find_program(DISLOCK_CCACHE ccache)
  if(DISLOCK_CCACHE)  # which knows precompiled headers only when told that they are as good as their text
    set(CMAKE_CXX_COMPILER_LAUNCHER env CCACHE_SLOPPINESS=pch_defines,time_macros ${DISLOCK_CCACHE} PARENT_SCOPE)
    if(DISLOCK_PRECOMPILE)
      target_compile_options(dislock_options INTERFACE $<$<CXX_COMPILER_ID:Clang>:SHELL:-Xclang -fno-pch-timestamp>)
    endif()
  endif()
  find_program(DISLOCK_MOLD NAMES mold)
  if(DISLOCK_MOLD)
    target_link_options(dislock_options INTERFACE -fuse-ld=mold)
  endif()

  set(CMAKE_CXX_EXTENSIONS OFF PARENT_SCOPE)
  set(CMAKE_EXPORT_COMPILE_COMMANDS ON PARENT_SCOPE)
  set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin PARENT_SCOPE)
endfunction()

# Everything comes from Debian 12 packages (scripts/packages.txt).
macro(dislock_find_dependencies)
  set(Boost_USE_STATIC_LIBS OFF)
  find_package(Boost 1.81 REQUIRED COMPONENTS json url)
  find_package(OpenSSL REQUIRED)
  find_package(Threads REQUIRED)
  find_package(RocksDB REQUIRED)
  find_package(spdlog REQUIRED)
  find_package(prometheus-cpp REQUIRED COMPONENTS core)
  find_package(CLI11 REQUIRED)
  find_package(tomlplusplus REQUIRED)
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
  find_package(PkgConfig REQUIRED)
  pkg_check_modules(dislock_hiredis REQUIRED IMPORTED_TARGET hiredis)  # its CMake file is broken in Debian 12
  if(DISLOCK_BUILD_TESTS)
    find_package(GTest REQUIRED)
    include(GoogleTest)
    find_path(RAPIDCHECK_INCLUDE rapidcheck.h REQUIRED)
    find_library(RAPIDCHECK_LIBRARY rapidcheck REQUIRED)
    add_library(rapidcheck::rapidcheck INTERFACE IMPORTED)
    target_include_directories(rapidcheck::rapidcheck SYSTEM INTERFACE ${RAPIDCHECK_INCLUDE})
    target_link_libraries(rapidcheck::rapidcheck INTERFACE ${RAPIDCHECK_LIBRARY})
  endif()
  add_library(dislock_rocksdb INTERFACE)
  target_link_libraries(dislock_rocksdb INTERFACE RocksDB::rocksdb-shared)
endmacro()

# Headers of others that many of our files include, parsed once. clang takes the result only where the flags are the same,
# so there are several sets: `standard` for libraries, `asio` for those that link dislock::boost (its headers bring objects
# that have to be linked), `command_line` and `tests`. No CLI11: its globals would be compiled into every file. The preset
# "gcc" does without, which proves that every file includes what it uses.
function(dislock_precompile_headers)
  if(NOT DISLOCK_PRECOMPILE)
    return()
  endif()
  set(headers <algorithm> <array> <atomic> <charconv> <chrono> <cmath> <condition_variable> <coroutine> <cstdint> <deque>
              <filesystem> <functional> <future> <map> <memory> <mutex> <optional> <random> <set> <span> <sstream>
              <stop_token> <string> <string_view> <thread> <type_traits> <utility> <variant> <vector>
              <boost/json.hpp> <boost/system/result.hpp>)
  set(asio <boost/asio/io_context.hpp> <boost/asio/ip/tcp.hpp> <boost/asio/post.hpp> <boost/asio/steady_timer.hpp>)
  set(tests <gmock/gmock.h> <gtest/gtest.h>)
  set(sets standard asio command_line)
  if(DISLOCK_BUILD_TESTS)
    list(APPEND sets tests)
  endif()
  set(empty ${PROJECT_BINARY_DIR}/generated/precompiled.cpp)
  file(CONFIGURE OUTPUT ${empty} CONTENT "")
  foreach(set ${sets})
    add_library(dislock_precompiled_${set} OBJECT EXCLUDE_FROM_ALL ${empty})
    target_link_libraries(dislock_precompiled_${set} PRIVATE Boost::headers dislock::options)
    target_precompile_headers(dislock_precompiled_${set} PRIVATE ${headers} ${${set}})
  endforeach()

  # The flags of those who use it.
  if(DISLOCK_SANITIZE)
    target_compile_options(dislock_precompiled_command_line PRIVATE -O0)
  endif()
  if(DISLOCK_BUILD_TESTS)
    target_link_libraries(dislock_precompiled_tests PRIVATE GTest::gmock)
    target_compile_options(dislock_precompiled_tests PRIVATE -fPIE -O0)
    set_target_properties(dislock_precompiled_tests PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  endif()
endfunction()

function(dislock_use_precompiled TARGET SET)
  if(DISLOCK_PRECOMPILE)
    target_precompile_headers(${TARGET} REUSE_FROM dislock_precompiled_${SET})
  endif()
endfunction()

# dislock_add_library(NAME n SOURCES ... DEPS ... [TESTS ...] [TEST_DEPS ...] [PRECOMPILED asio|command_line])
# makes dislock_n, its alias dislock::n, and one test program n_test from TESTS (label: unit).
function(dislock_add_library)
  cmake_parse_arguments(ARG "" "NAME;PRECOMPILED" "SOURCES;DEPS;TESTS;TEST_DEPS" ${ARGN})
  if(NOT ARG_PRECOMPILED)
    set(ARG_PRECOMPILED standard)
  endif()
  if(ARG_SOURCES)
    add_library(dislock_${ARG_NAME} STATIC ${ARG_SOURCES})
    target_include_directories(dislock_${ARG_NAME} PUBLIC ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include
                                                          ${PROJECT_BINARY_DIR}/generated)
    target_link_libraries(dislock_${ARG_NAME} PUBLIC ${ARG_DEPS} PRIVATE dislock::options)
    dislock_use_precompiled(dislock_${ARG_NAME} ${ARG_PRECOMPILED})
  else()
    add_library(dislock_${ARG_NAME} INTERFACE)
    target_include_directories(dislock_${ARG_NAME} INTERFACE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include
                                                             ${PROJECT_BINARY_DIR}/generated)
    target_link_libraries(dislock_${ARG_NAME} INTERFACE ${ARG_DEPS})
  endif()
  add_library(dislock::${ARG_NAME} ALIAS dislock_${ARG_NAME})
  if(ARG_TESTS AND DISLOCK_BUILD_TESTS)
    dislock_add_test(NAME ${ARG_NAME}_test LABEL unit SOURCES ${ARG_TESTS} DEPS dislock::${ARG_NAME} ${ARG_TEST_DEPS})
  endif()
endfunction()

# dislock_add_test(NAME n LABEL unit|conformance|integration|fault|e2e SOURCES ... DEPS ...)
# The target LABEL_tests builds all of a label.
function(dislock_add_test)
  cmake_parse_arguments(ARG "" "NAME;LABEL" "SOURCES;DEPS" ${ARGN})
  add_executable(${ARG_NAME} ${ARG_SOURCES})
  target_link_libraries(${ARG_NAME} PRIVATE ${ARG_DEPS} GTest::gmock GTest::gtest_main dislock::options)
  target_compile_options(${ARG_NAME} PRIVATE -O0)  # a test is compiled more often than it runs; what it tests is as fast as ever
  dislock_use_precompiled(${ARG_NAME} tests)
  set_target_properties(${ARG_NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  if(NOT TARGET ${ARG_LABEL}_tests)
    add_custom_target(${ARG_LABEL}_tests)
  endif()
  add_dependencies(${ARG_LABEL}_tests ${ARG_NAME})
  gtest_discover_tests(${ARG_NAME} DISCOVERY_MODE PRE_TEST PROPERTIES LABELS ${ARG_LABEL} TIMEOUT 120)
endfunction()

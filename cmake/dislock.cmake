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
  if(DISLOCK_CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${DISLOCK_CCACHE} PARENT_SCOPE)
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

# dislock_add_library(NAME n SOURCES ... DEPS ... [TESTS ...] [TEST_DEPS ...])
# makes dislock_n, its alias dislock::n, and one test program n_test from TESTS (label: unit).
function(dislock_add_library)
  cmake_parse_arguments(ARG "" "NAME" "SOURCES;DEPS;TESTS;TEST_DEPS" ${ARGN})
  if(ARG_SOURCES)
    add_library(dislock_${ARG_NAME} STATIC ${ARG_SOURCES})
    target_include_directories(dislock_${ARG_NAME} PUBLIC ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include
                                                          ${PROJECT_BINARY_DIR}/generated)
    target_link_libraries(dislock_${ARG_NAME} PUBLIC ${ARG_DEPS} PRIVATE dislock::options)
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
function(dislock_add_test)
  cmake_parse_arguments(ARG "" "NAME;LABEL" "SOURCES;DEPS" ${ARGN})
  add_executable(${ARG_NAME} ${ARG_SOURCES})
  target_link_libraries(${ARG_NAME} PRIVATE ${ARG_DEPS} GTest::gmock GTest::gtest_main dislock::options)
  set_target_properties(${ARG_NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  gtest_discover_tests(${ARG_NAME} DISCOVERY_MODE PRE_TEST PROPERTIES LABELS ${ARG_LABEL} TIMEOUT 120)
endfunction()

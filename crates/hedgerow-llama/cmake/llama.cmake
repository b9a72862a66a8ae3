# How this project compiles llama.cpp.
#
# CMake reads this file at the end of each `project()` command of llama.cpp's build, because
# `.cargo/config.toml` sets CMAKE_PROJECT_INCLUDE and the binding's build script hands it on. The build script
# of the crate `hedgerow-llama` fails where that did not happen.

if (NOT PROJECT_NAME STREQUAL "llama.cpp")
    return()
endif()

# For the processor that compiles, unless every variant is compiled (feature `portable`) or GGML_NATIVE=OFF
# is in the environment. The binding would ask for this only if all Rust code were compiled so too.
if (NOT GGML_CPU_ALL_VARIANTS AND NOT CMAKE_CROSSCOMPILING)
    if (DEFINED ENV{GGML_NATIVE})
        set(GGML_NATIVE $ENV{GGML_NATIVE})
    else()
        set(GGML_NATIVE ON)
    endif()
endif()

# AMX's tile instructions as GCC ought to declare them: see the header.
foreach (language C CXX)
    if (CMAKE_${language}_COMPILER_ID STREQUAL "GNU")
        add_compile_options(
            "$<$<COMPILE_LANGUAGE:${language}>:SHELL:-include \"${CMAKE_CURRENT_LIST_DIR}/amx.h\">")
    endif()
endforeach()

# llama.cpp's helpers for its own programs take longer to compile than llama.cpp itself, and nothing here
# uses them; the binding asks for them all the same.
set(LLAMA_BUILD_COMMON OFF)

# Code that runs once, or builds a graph that then runs for milliseconds, is compiled for a quick build: all of the
# library `llama` but the files named here, without much optimization and many files at a time, because most of them
# take longer to parse headers than to compile. The arithmetic is in ggml, which keeps -O3.
function (hedgerow_quick_build)
    if (MSVC OR NOT TARGET llama)
        return()
    endif()
    # This runs in another folder than llama's: its files must be named in full.
    get_target_property(folder llama SOURCE_DIR)
    get_target_property(sources llama SOURCES)
    list(FILTER sources INCLUDE REGEX "\\.cpp$")
    list(TRANSFORM sources PREPEND "${folder}/")
    set(optimized batch context grammar graph kv-cache sampler vocab)
    list(TRANSFORM optimized REPLACE "(.+)" "${folder}/llama-\\1.cpp")
    list(APPEND optimized "${folder}/unicode.cpp")
    target_compile_options(llama PRIVATE -O1)
    set_source_files_properties(
        ${sources} TARGET_DIRECTORY llama PROPERTIES SKIP_UNITY_BUILD_INCLUSION OFF)
    set_source_files_properties(
        ${optimized} TARGET_DIRECTORY llama PROPERTIES COMPILE_OPTIONS -O3 SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()
if (CMAKE_VERSION VERSION_GREATER_EQUAL 3.19)
    cmake_language(DEFER CALL hedgerow_quick_build)
endif()

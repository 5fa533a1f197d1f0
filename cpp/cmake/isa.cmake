# The instruction sets that the core is compiled for: docs/architecture.md, Instruction sets.
#
# MLH_ISA, a list of
#   x86-64-v2  SSE4.2     x86-64-v3  AVX2, FMA     x86-64-v4  AVX-512     (psABI levels)
#   plain      what the compiler makes without being told: the only one on other architectures
#   native     this machine's own (-march=native): runs nowhere else
#   machine    the highest of the levels that this machine has
#   baseline   the lowest of the levels
# Empty: every level for the Python extension, which chooses when it is imported; native for the C++ library alone.

set(MLH_X86_LEVELS x86-64-v2 x86-64-v3 x86-64-v4)

# The names of MLH_X86_LEVELS that this machine has; none on another architecture or system.
function(mlh_machine_levels result)
  set(levels)
  if(EXISTS /proc/cpuinfo AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
    file(READ /proc/cpuinfo text LIMIT 16384)
    foreach(level flags IN ZIP_LISTS MLH_X86_LEVELS MLH_X86_FLAGS)
      if(text MATCHES " ${flags}[ \n]")
        list(APPEND levels ${level})
      endif()
    endforeach()
  endif()
  set(${result} ${levels} PARENT_SCOPE)
endfunction()
# One flag that no processor of a lower level has.
set(MLH_X86_FLAGS sse4_2 avx2 avx512vl)

# MLH_ISA with its defaults, `machine` and `baseline` written out.
function(mlh_chosen_levels result)
  string(REGEX REPLACE "[, ]+" ";" chosen "${MLH_ISA}")
  set(x86 FALSE)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
    set(x86 TRUE)
  endif()
  if(NOT chosen AND MLH_PORTABLE)
    message(DEPRECATION "MLH_PORTABLE: say MLH_ISA=plain; by default the extension now runs elsewhere too.")
    set(chosen plain)
  elseif(NOT chosen AND NOT MLH_PYTHON)
    set(chosen native)
  elseif(NOT chosen)
    set(chosen plain)
    if(x86)
      set(chosen ${MLH_X86_LEVELS})
    endif()
  endif()
  set(levels)
  mlh_machine_levels(here)
  foreach(name IN LISTS chosen)
    if(name STREQUAL machine)
      set(name plain)
      if(here)
        list(GET here -1 name)
      endif()
    elseif(name STREQUAL baseline)
      set(name plain)
      if(x86)
        list(GET MLH_X86_LEVELS 0 name)
      endif()
    endif()
    if(NOT name MATCHES "^(plain|native)$" AND NOT (x86 AND name IN_LIST MLH_X86_LEVELS))
      message(FATAL_ERROR "MLH_ISA: expected some of ${MLH_X86_LEVELS} (x86-64 only), plain, native, machine, "
                          "baseline, got ${name} on ${CMAKE_SYSTEM_PROCESSOR}")
    endif()
    list(APPEND levels ${name})
  endforeach()
  list(REMOVE_DUPLICATES levels)
  set(${result} ${levels} PARENT_SCOPE)
endfunction()

# Whether programs of that level run on the machine that compiles.
function(mlh_runs_here level result)
  mlh_machine_levels(here)
  set(runs FALSE)
  if(NOT CMAKE_CROSSCOMPILING AND (level MATCHES "^(plain|native)$" OR level IN_LIST here))
    set(runs TRUE)
  endif()
  set(${result} ${runs} PARENT_SCOPE)
endfunction()

# The compiler's option for a level, empty for plain.
function(mlh_isa_option level result)
  set(option -march=${level})
  if(level STREQUAL plain)
    set(option)
  endif()
  set(${result} ${option} PARENT_SCOPE)
endfunction()

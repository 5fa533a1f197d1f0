# cmake -DBUILD=... -DWORK=... -DSOURCE=... -P check.cmake: install the library as a user does, build the program of
# the documentation with find_package(mlh), compare what it prints.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE out ERROR_VARIABLE out)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${ARGN}\n${out}")
  endif()
  set(output "${out}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE ${WORK})
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/installed --component cpp)
run(${CMAKE_COMMAND} -S ${SOURCE} -B ${WORK}/build -G ${GENERATOR} -DCMAKE_CXX_COMPILER=${COMPILER}
    -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH=${WORK}/installed)
run(${CMAKE_COMMAND} --build ${WORK}/build)
run(${WORK}/build/user)
# Y_00 and 2 Y_10 on the z axis; PW92 and Dirac exchange at n = 0.1 without a gradient.
set(expected "0.2820947918 0.9772050238 -0.0396059519\n")
if(NOT output STREQUAL expected)
  message(FATAL_ERROR "expected ${expected}got ${output}")
endif()

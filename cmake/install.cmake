# cmake --install: headers, both libraries, the program, its manual pages and completions, moeclip.pc and the CMake package.
# docs/INSTALL.md describes the result; tests/install/ holds it.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# oneDNN from DNNL_ROOT (a wheel's, say) is no library that the system's loader knows: it goes along, into a folder that
# only libmoeclip looks into. A system's oneDNN stays where it is.
get_filename_component(dnnl_root "${DNNL_ROOT}" REALPATH)
get_filename_component(dnnl_file "${DNNL_LIBRARY}" REALPATH)
string(FIND "${dnnl_file}" "${dnnl_root}/" dnnl_place)
if(dnnl_place EQUAL 0 AND NOT dnnl_file MATCHES "\\.a$")
  set(own_dnnl ON)
else()
  set(own_dnnl OFF)
endif()
option(MOECLIP_INSTALL_ONEDNN "Install oneDNN beside libmoeclip, in lib/moeclip" ${own_dnnl})

set(private_libdir ${CMAKE_INSTALL_LIBDIR}/moeclip)
if(MOECLIP_INSTALL_ONEDNN)
  file(RELATIVE_PATH from_program /${CMAKE_INSTALL_BINDIR} /${private_libdir})
  set_target_properties(moeclip PROPERTIES INSTALL_RPATH "$ORIGIN/moeclip")
  set_target_properties(moeclip_cli PROPERTIES INSTALL_RPATH "$ORIGIN/${from_program}")
  # The file under its soname, which is what the loader asks for, and the name that the linker asks for.
  execute_process(COMMAND ${CMAKE_OBJDUMP} -p ${dnnl_file} OUTPUT_VARIABLE dnnl_headers ERROR_QUIET)
  if(NOT dnnl_headers MATCHES "SONAME +([^ \n]+)")
    message(FATAL_ERROR "${dnnl_file}: no soname found with ${CMAKE_OBJDUMP}")
  endif()
  set(dnnl_soname ${CMAKE_MATCH_1})
  install(FILES ${dnnl_file} DESTINATION ${private_libdir} RENAME ${dnnl_soname}
          PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
  file(CREATE_LINK ${dnnl_soname} ${CMAKE_BINARY_DIR}/libdnnl.so SYMBOLIC)
  install(FILES ${CMAKE_BINARY_DIR}/libdnnl.so DESTINATION ${private_libdir})
  file(GLOB_RECURSE dnnl_licences ${dnnl_root}/share/doc/*LICENSE ${dnnl_root}/share/doc/*THIRD-PARTY-PROGRAMS)
  install(FILES ${dnnl_licences} DESTINATION ${CMAKE_INSTALL_DOCDIR}/onednn)
endif()

# Hidden visibility leaves the linker's own symbols and those of the compiler's static run time: these go too.
set(map ${CMAKE_CURRENT_SOURCE_DIR}/cmake/moeclip.map)
target_link_options(moeclip PRIVATE -Wl,--version-script=${map})
set_target_properties(moeclip PROPERTIES LINK_DEPENDS ${map})

# --- libraries, headers, program --------------------------------------------------------------------------------------
target_include_directories(moeclip INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_include_directories(moeclip_static INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_compile_definitions(moeclip_static INTERFACE $<INSTALL_INTERFACE:MOECLIP_STATIC>)
target_link_libraries(moeclip_static INTERFACE $<INSTALL_INTERFACE:moeclip::dependencies>)
install(TARGETS moeclip moeclip_static EXPORT moeclip_targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS moeclip_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY include/moeclip DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")

# --- CMake package ----------------------------------------------------------------------------------------------------
list(JOIN MOECLIP_PACKAGES " " pc_packages)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/moeclip)
# The compiler's own OpenMP library: gcc finds libgomp by its name, clang's libomp lies in a folder of clang's.
list(GET OpenMP_C_LIB_NAMES 0 openmp_name)
if(openmp_name STREQUAL "gomp" OR NOT OpenMP_${openmp_name}_LIBRARY)
  set(openmp_link -l${openmp_name})
else()
  set(openmp_link ${OpenMP_${openmp_name}_LIBRARY})
endif()
set(config_openmp_link ${openmp_link})
if(MOECLIP_SANITIZE)
  string(APPEND openmp_link " -fsanitize=${MOECLIP_SANITIZE}")
  list(APPEND config_openmp_link -fsanitize=${MOECLIP_SANITIZE})
endif()
if(MOECLIP_INSTALL_ONEDNN)
  set(config_dnnl "\${moeclip_PRIVATE_LIBRARY_DIR}/${dnnl_soname}")
else()
  set(config_dnnl ${dnnl_file})
endif()
configure_package_config_file(cmake/moeclipConfig.cmake.in ${CMAKE_BINARY_DIR}/moeclipConfig.cmake
                              INSTALL_DESTINATION ${package_dir} PATH_VARS private_libdir)
# Before version 1.0, a minor version may change the interface.
write_basic_package_version_file(${CMAKE_BINARY_DIR}/moeclipConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/moeclipConfig.cmake ${CMAKE_BINARY_DIR}/moeclipConfigVersion.cmake
        DESTINATION ${package_dir})
install(EXPORT moeclip_targets NAMESPACE moeclip:: FILE moeclipTargets.cmake DESTINATION ${package_dir})

# --- pkg-config -------------------------------------------------------------------------------------------------------
file(RELATIVE_PATH pc_to_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" pc_to_prefix "${pc_to_prefix}")
if(MOECLIP_INSTALL_ONEDNN)
  set(pc_dnnl "-L\${libdir}/moeclip -ldnnl -Wl,-rpath,\${libdir}/moeclip")
else()
  get_filename_component(dnnl_libdir "${DNNL_LIBRARY}" DIRECTORY)
  set(pc_dnnl "-L${dnnl_libdir} -ldnnl")
endif()
configure_file(cmake/moeclip.pc.in ${CMAKE_BINARY_DIR}/moeclip.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/moeclip.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# --- manual pages and completions, which the program writes from its option tables ------------------------------------
if(NOT SKBUILD AND NOT MOECLIP_FUZZ AND NOT CMAKE_CROSSCOMPILING)
  add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/documents/done
                     COMMAND ${CMAKE_COMMAND} -DPROGRAM=$<TARGET_FILE:moeclip_cli> -DOUT=${CMAKE_BINARY_DIR}/documents
                             -P ${CMAKE_CURRENT_SOURCE_DIR}/cmake/documents.cmake
                     DEPENDS moeclip_cli cmake/documents.cmake VERBATIM COMMENT "Writing manual pages and completions")
  add_custom_target(moeclip_documents ALL DEPENDS ${CMAKE_BINARY_DIR}/documents/done)
  install(DIRECTORY ${CMAKE_BINARY_DIR}/documents/man1 DESTINATION ${CMAKE_INSTALL_MANDIR})
  install(FILES ${CMAKE_BINARY_DIR}/documents/moeclip.bash RENAME moeclip
          DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  install(FILES ${CMAKE_BINARY_DIR}/documents/_moeclip DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
  install(FILES ${CMAKE_BINARY_DIR}/documents/moeclip.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
endif()

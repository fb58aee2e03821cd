/* What is written from the option tables besides --help: manual pages and shell completions. */
#ifndef MC_CLI_DOCUMENTS_H
#define MC_CLI_DOCUMENTS_H

#include <stdio.h>

#include "cli/args.h"

/* --- help.c ------------------------------------------------------------------------------------------------------- */

/* What an option does, its range and default: freed by the caller; NULL when memory is short. options: the command's defaults. */
char *mc_option_text(const mc_option *o, const void *options);
/* What exit codes mean: pairs of code and meaning, NULL-ended. */
extern const char *const mc_exit_codes[][2];

/* --- manual.c ----------------------------------------------------------------------------------------------------- */

/* A manual page in man(7)'s language: of a command, or of the program; an exit code. */
int mc_write_manual(FILE *f, const mc_command *command);
int mc_write_program_manual(FILE *f, const char *examples);

/* --- completion.c ------------------------------------------------------------------------------------------------- */

/* shell: "bash", "zsh" or "fish"; an exit code. */
int mc_write_completion(FILE *f, const char *shell);

/* --- version.c ---------------------------------------------------------------------------------------------------- */

/* `moeclip --version`: the program, its libraries, the processor's instructions, the compiler. */
void mc_write_version(FILE *f);

#endif

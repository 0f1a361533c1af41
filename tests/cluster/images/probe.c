/* What the selftest runs in pods: prints what the process was given, one NAME=VALUE a line, then runs its arguments. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void print_file(const char *name, const char *path) {
  char text[256];
  FILE *file = fopen(path, "r");
  if (file && fgets(text, sizeof text, file)) printf("%s=%s\n", name, strtok(text, "\n"));
  if (file) fclose(file);
}

int main(int count, char **arguments) {
  const char *index = getenv("JOB_COMPLETION_INDEX");
  char line[256];
  FILE *status = fopen("/proc/self/status", "r");
  while (status && fgets(line, sizeof line, status)) {
    int value;
    if (sscanf(line, "Seccomp: %d", &value) == 1) printf("seccomp=%d\n", value);
    if (sscanf(line, "NoNewPrivs: %d", &value) == 1) printf("no_new_privileges=%d\n", value);
  }
  printf("uid=%d\nindex=%s\n", (int)getuid(), index ? index : "");
  printf("root_is_writable=%d\n", access("/", W_OK) == 0);
  print_file("greeting", "/config/greeting");
  fflush(stdout);
  if (count > 1) {
    execvp(arguments[1], arguments + 1);
    perror(arguments[1]);
    return 1;
  }
  return 0;
}

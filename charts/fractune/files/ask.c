/* `helm test`: asks http://HOST:PORT/readyz until the answer is 200, for a minute. Arguments: names of the environment's
   variables that hold host and port, and, for tests of this program, the seconds if they are others. */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* The status of the answer; 0 without one, and `answer` is then as it was. */
static int ask(const struct addrinfo *address, const char *request, char *answer, size_t size)
{
  int status = 0, socket_ = socket(address->ai_family, SOCK_STREAM, 0);
  struct timeval patience = {.tv_sec = 5};
  setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (connect(socket_, address->ai_addr, address->ai_addrlen) == 0 &&
      write(socket_, request, strlen(request)) == (ssize_t)strlen(request)) {
    ssize_t got, length = 0;
    while (length < (ssize_t)size - 1 && (got = read(socket_, answer + length, size - 1 - length)) > 0) length += got;
    if (length > 0) {
      answer[length] = 0;
      sscanf(answer, "HTTP/1.1 %d", &status);
    }
  }
  close(socket_);
  return status;
}

int main(int count, char **arguments)
{
  if (count != 3 && count != 4)
    return fprintf(stderr, "usage: ask HOST-VARIABLE PORT-VARIABLE [SECONDS]\n"), 2;
  const char *host = getenv(arguments[1]), *port = getenv(arguments[2]);
  if (!host || !port)
    return fprintf(stderr, "%s or %s is not set: is the Service there?\n", arguments[1], arguments[2]), 1;
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST}, *address;
  if (getaddrinfo(host, port, &hints, &address) != 0)
    return fprintf(stderr, "%s:%s is no address\n", host, port), 1;
  char request[256], answer[1024] = "";
  snprintf(request, sizeof request, "GET /readyz HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n");
  /* An attempt that nobody answers takes seconds, too. */
  const time_t end = time(NULL) + (count == 4 ? atoi(arguments[3]) : 60);
  do {
    errno = 0;
    if (ask(address, request, answer, sizeof answer) == 200) return puts("the operator is ready"), 0;
  } while (time(NULL) < end && sleep(1) == 0);
  if (!*answer)
    return fprintf(stderr, "the operator at %s:%s cannot be reached (%s): does the cluster serve Services?\n", host, port,
                   errno && errno != EINPROGRESS && errno != EAGAIN ? strerror(errno) : "no answer"), 1;
  return fprintf(stderr, "the operator at %s:%s is not ready; it answered: %s\n", host, port, answer), 1;
}

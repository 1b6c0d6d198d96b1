/* A TCP proxy on 127.0.0.1 that passes every byte on after a fixed time:  proxy SERVER_PORT MICROSECONDS
 * It prints the port that it listens on.  The time is the same for all, so what is under way stands in one queue, in
 * the order in which it is due.  One thread; ends with its standard input.  */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST_FILES = 65536, MOST_READ = 65536, BUFFER = 4 << 20, EVENTS = 256 };

struct piece {
  struct piece *next;
  int64_t due;
  int to;
  size_t length; /* 0: the other side has closed */
  char bytes[];
};

static struct piece *first, **last = &first;
static int other[MOST_FILES], poller, listener, server_port;
static int64_t delay;
static char input[MOST_READ];

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static struct sockaddr_in here(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

static void watch(int file) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = file};
  if (epoll_ctl(poller, EPOLL_CTL_ADD, file, &event)) fail("epoll_ctl");
}

/* Writes block when a buffer of 4 MB is full: far more than Redis and its clients have under way here. */
static void prepare(int file) {
  int yes = 1, size = BUFFER;
  setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  setsockopt(file, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  watch(file);
}

static void accept_one(void) {
  struct sockaddr_in address = here(server_port);
  int client = accept(listener, 0, 0), server = socket(AF_INET, SOCK_STREAM, 0);
  if (client < 0 || server < 0 || client >= MOST_FILES || server >= MOST_FILES) fail("accept");
  if (connect(server, (struct sockaddr *)&address, sizeof address)) fail("connect");
  other[client] = server;
  other[server] = client;
  prepare(client);
  prepare(server);
}

static void take(int from) {
  ssize_t got = recv(from, input, sizeof input, MSG_DONTWAIT);
  if (got < 0 && errno == EAGAIN) return;
  size_t length = got > 0 ? got : 0;
  struct piece *piece = malloc(sizeof *piece + length);
  *piece = (struct piece){.due = now() + delay, .to = other[from], .length = length};
  __builtin_memcpy(piece->bytes, input, length);
  *last = piece;
  last = &piece->next;
  if (!length) epoll_ctl(poller, EPOLL_CTL_DEL, from, 0);
}

static void pass_on(void) {
  struct piece *piece = first;
  first = piece->next;
  if (!first) last = &first;
  size_t done = 0;
  while (done < piece->length) {
    ssize_t sent = send(piece->to, piece->bytes + done, piece->length - done, MSG_NOSIGNAL);
    if (sent < 0) break; /* it has closed; its own end comes by itself */
    done += sent;
  }
  if (!piece->length) shutdown(piece->to, SHUT_WR);
  free(piece);
}

int main(int count, char **words) {
  if (count != 3) return 2;
  server_port = atoi(words[1]);
  delay = atoll(words[2]) * 1000;
  prctl(PR_SET_TIMERSLACK, 1);
  struct sockaddr_in address = here(0);
  socklen_t length = sizeof address;
  listener = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 4096)) fail("listen");
  getsockname(listener, (struct sockaddr *)&address, &length);
  poller = epoll_create1(0);
  watch(listener);
  watch(STDIN_FILENO);
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  for (;;) {
    while (first && first->due <= now()) pass_on();
    int64_t left = first ? first->due - now() : 1000000000LL;
    struct timespec most = {.tv_nsec = left < 0 ? 0 : left % 1000000000LL, .tv_sec = left / 1000000000LL};
    struct epoll_event events[EVENTS];
    int ready = epoll_pwait2(poller, events, EVENTS, &most, 0);
    for (int i = 0; i < ready; i++) {
      if (events[i].data.fd == STDIN_FILENO) return 0;
      if (events[i].data.fd == listener)
        accept_one();
      else
        take(events[i].data.fd);
    }
  }
}

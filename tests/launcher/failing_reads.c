/* Preloaded into a rank: reads of a data set's shards fail as a bad disk's do.

   FAILING_RANKS    the world ranks, such as "1" or "0,1"
   FAILING_OFFSET   only reads that begin at this byte of a shard whose name has FAILING_FILE
   FAILING_TIMES    how many of them; those after these succeed */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int num_failed;

static int is_chosen(int descriptor, off64_t offset) {
  const char *rank = getenv("OMPI_COMM_WORLD_RANK"), *ranks = getenv("FAILING_RANKS");
  const char *wanted = getenv("FAILING_OFFSET"), *file = getenv("FAILING_FILE"), *times = getenv("FAILING_TIMES");
  char link[64], path[1024];
  ssize_t length;
  if (ranks == NULL || wanted == NULL || file == NULL || times == NULL || offset != atoll(wanted)) return 0;
  if (strstr(ranks, rank == NULL ? "0" : rank) == NULL) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return strstr(path, file) != NULL && __sync_fetch_and_add(&num_failed, 1) < atoi(times);
}

ssize_t pread64(int descriptor, void* buffer, size_t size, off64_t offset) {
  ssize_t (*real)(int, void*, size_t, off64_t) = (ssize_t(*)(int, void*, size_t, off64_t))dlsym(RTLD_NEXT, "pread64");
  if (is_chosen(descriptor, offset)) {
    errno = EIO;
    return -1;
  }
  return real(descriptor, buffer, size, offset);
}

ssize_t pread(int descriptor, void* buffer, size_t size, off_t offset) {
  return pread64(descriptor, buffer, size, offset);
}

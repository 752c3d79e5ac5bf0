/* Times libkmod's look-up in one process, as udev does it: kmod.c MODULE-DIRECTORY ROUNDS < modaliases
   Output: nanoseconds a look-up on average, then how many modules were found. */
#include <libkmod.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    const char *no_config = NULL;
    struct kmod_ctx *ctx = kmod_new(argv[1], &no_config);
    if (!ctx || kmod_load_resources(ctx) < 0) return 1;
    char *aliases[4096];
    int count = 0;
    char *line = NULL;
    size_t size = 0;
    ssize_t length;
    while (count < 4096 && (length = getline(&line, &size, stdin)) > 0) {
        if (line[length - 1] == '\n') line[length - 1] = '\0';
        aliases[count++] = strdup(line);
    }
    long rounds = atol(argv[2]), found = 0;
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (long round = 0; round < rounds; round++)
        for (int i = 0; i < count; i++) {
            struct kmod_list *list = NULL, *entry;
            kmod_module_new_from_lookup(ctx, aliases[i], &list);
            kmod_list_foreach(entry, list) found++;
            kmod_module_unref_list(list);
        }
    clock_gettime(CLOCK_MONOTONIC, &end);
    double ns = (end.tv_sec - start.tv_sec) * 1e9 + (end.tv_nsec - start.tv_nsec);
    printf("%.0f %ld\n", ns / (double)rounds / count, found / rounds);
    return 0;
}

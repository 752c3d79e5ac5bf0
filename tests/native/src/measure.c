/* measure RESULT COMMAND...: runs COMMAND and appends "WALL_US CPU_US PEAK_KIB" to the file RESULT; CPU is that of COMMAND and all of its
   children that were waited for, also of those that it left: bubblewrap ends before the first process of its PID namespace is
   reaped. The peak is that of the process that had the most memory. What a shell that became this program waited for before is not counted. Ends as COMMAND did. */
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long micros(struct timeval t) { return t.tv_sec * 1000000LL + t.tv_usec; }

int main(int argc, char **argv)
{
	struct timespec begin, end;
	struct rusage before, used;
	int status;
	FILE *result;

	if (argc < 3)
		return 125;
	/* What COMMAND leaves becomes our child. */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
		return 125;
	getrusage(RUSAGE_CHILDREN, &before);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	pid_t child = vfork();
	if (child == 0) {
		execvp(argv[2], argv + 2);
		_exit(127);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return 126;
	clock_gettime(CLOCK_MONOTONIC, &end);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	getrusage(RUSAGE_CHILDREN, &used);
	result = fopen(argv[1], "a");
	if (!result)
		return 125;
	fprintf(result, "%lld %lld %ld\n",
		(end.tv_sec - begin.tv_sec) * 1000000LL + (end.tv_nsec - begin.tv_nsec) / 1000,
		micros(used.ru_utime) + micros(used.ru_stime) - micros(before.ru_utime) - micros(before.ru_stime),
		used.ru_maxrss);
	fclose(result);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

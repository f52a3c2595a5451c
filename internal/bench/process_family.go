package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// familyCPU is what a process's parent, all of that one's living children, and
// those that it has awaited, have used of the processors (proc(5),
// /proc/PID/stat, fields 4 and 14 to 17): for a backend of Postgres, all of Postgres.
func familyCPU(member int) (time.Duration, error) {
	of, err := readStat(member)
	if err != nil {
		return 0, err
	}
	parent, err := readStat(of.parent)
	if err != nil {
		return 0, err
	}
	sum := parent.own + parent.awaited
	list, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, fmt.Errorf("listing processes: %w", err)
	}
	for _, dir := range list {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if s, err := readStat(pid); err == nil && s.parent == of.parent { // the others have ended meanwhile
			sum += s.own
		}
	}
	return sum, nil
}

// stat is what /proc says of a process.
type stat struct {
	parent       int
	own, awaited time.Duration
}

func readStat(pid int) (stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, fmt.Errorf("reading a process's CPU time (Linux only): %w", err)
	}
	// The second field, the name, may hold anything; the numbers begin behind its
	// bracket, which is the last.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 15 {
		return stat{}, fmt.Errorf("reading a process's CPU time: unknown form %q", b)
	}
	var n [5]int64
	for i, field := range []int{1, 11, 12, 13, 14} {
		if n[i], err = strconv.ParseInt(fields[field], 10, 64); err != nil {
			return stat{}, fmt.Errorf("reading a process's CPU time: unknown form %q", b)
		}
	}
	return stat{parent: int(n[0]), own: time.Duration(n[1]+n[2]) * clockTick, awaited: time.Duration(n[3]+n[4]) * clockTick}, nil
}

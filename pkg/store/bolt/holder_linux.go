package bolt

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"unicode"
)

// holders names the processes that hold a flock on the file, as far as this
// one may see them, such as "tokenctl (pid 4711)".
func holders(f *os.File) string {
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return ""
	}
	dev := uint64(stat.Dev)
	major, minor := dev>>8&0xfff|dev>>32&^0xfff, dev&0xff|dev>>12&^0xff
	inode := fmt.Sprintf("%02x:%02x:%d", major, minor, stat.Ino)
	var names []string
	for line := range strings.Lines(string(locks)) {
		// 1: FLOCK  ADVISORY  WRITE 4711 fe:00:9977869 0 EOF
		field := strings.Fields(line)
		if len(field) < 6 || field[1] != "FLOCK" || field[5] != inode {
			continue
		}
		pid := field[4]
		if pid == fmt.Sprint(os.Getpid()) {
			names = append(names, "this process")
			continue
		}
		comm, err := os.ReadFile("/proc/" + pid + "/comm")
		if err != nil {
			comm = []byte("a process")
		}
		// A lock that is handed over while we read stands there twice.
		if name := fmt.Sprintf("%s (pid %s)", strings.Map(printable, string(comm)), pid); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	const most = 3
	if len(names) > most {
		names = append(names[:most], "others")
	}
	return strings.Join(names, ", ")
}

// printable drops what a process may have put into its name to play with the
// terminal, and the line's end.
func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return -1
}

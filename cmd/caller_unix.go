//go:build unix

package cmd

import (
	"bufio"
	"os"
	"strconv"
	"strings"
)

// systemUser is the name of the operating-system user.
func systemUser() (name, via string) { return userOf(os.Getuid()) }

// userOf is the name of a user, found by uid in the password file, else uid-N.
// The environment is not asked: it is the caller's to set, and os/user asks it
// for users that the file does not have.
func userOf(number int) (name, via string) {
	uid := strconv.Itoa(number)
	via = "uid " + uid
	f, err := os.Open("/etc/passwd")
	if err != nil {
		return "uid-" + uid, via
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.SplitN(s.Text(), ":", 4)
		if len(fields) == 4 && fields[2] == uid && fields[0] != "" {
			return fields[0], via
		}
	}
	return "uid-" + uid, via
}

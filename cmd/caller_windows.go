package cmd

import (
	"os/user"
	"strings"
)

// systemUser is the name of the operating-system user without its domain, as
// the process's own access token has it, and the security identifier.
func systemUser() (name, via string) {
	u, err := user.Current()
	if err != nil {
		return "unknown", "sid unknown"
	}
	_, name, found := strings.Cut(u.Username, `\`)
	if !found {
		name = u.Username
	}
	return name, "sid " + u.Uid
}

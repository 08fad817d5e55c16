package terminal

import (
	"runtime"
	"strings"
	"testing"
)

func TestHasDesktop(t *testing.T) {
	always := runtime.GOOS == "windows" || runtime.GOOS == "darwin"
	for _, c := range []struct {
		env  string
		want bool
	}{
		{"", always},
		{"DISPLAY=:0", true},
		{"WAYLAND_DISPLAY=wayland-0", true},
		{"DISPLAY=:0 SSH_TTY=/dev/pts/7", false},
		{"WAYLAND_DISPLAY=wayland-0 SSH_CONNECTION=192.0.2.1", false},
		{"SSH_TTY=/dev/pts/7", false},
	} {
		if got := HasDesktop(env(strings.Fields(c.env)...)); got != c.want {
			t.Errorf("HasDesktop(%s) = %v", c.env, got)
		}
	}
}

package terminal

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/aymanbagabas/go-osc52/v2"
)

const osc52Name = "OSC 52"

// copyOSC52 asks the terminal to take value. There is no answer: whether it did
// is up to the terminal (xterm and tmux want a setting for it).
func copyOSC52(tty io.Writer, value string, env func(string) string) error {
	if tty == nil {
		return errors.New("no terminal for OSC 52")
	}
	switch name := env("TERM"); {
	case name == "dumb", name == "linux", name == "" && runtime.GOOS != "windows":
		// Those print what they don't know, and it is a secret.
		return fmt.Errorf("a terminal of type %q has no OSC 52", name)
	}
	if _, err := io.WriteString(tty, osc52Sequence(value, env)); err != nil {
		return fmt.Errorf("cannot write to the terminal: %w", err)
	}
	return nil
}

// osc52Sequence is the plain sequence, and behind it, in a multiplexer, once
// more in the wrapping that makes it hand the sequence on to the terminal
// outside. Which of them counts depends on settings that cannot be asked for
// (tmux: set-clipboard, allow-passthrough); the other is ignored. TERM alone
// gives it away when the multiplexer runs on the near side of an SSH session.
func osc52Sequence(value string, env func(string) string) string {
	plain := osc52.New(value)
	switch name := env("TERM"); {
	case env("TMUX") != "" || strings.HasPrefix(name, "tmux"):
		return plain.String() + plain.Tmux().String()
	case env("STY") != "" || strings.HasPrefix(name, "screen"):
		return plain.String() + plain.Screen().String()
	}
	return plain.String()
}

//go:build linux

package cmd_test

import (
	"encoding/base64"
	"os/exec"
	"strings"
	"testing"
)

// What a sample JWT says is shown before the question, which goes to the
// terminal also if the sample is on standard input; only a yes adds anything.
func TestTerminalSampleJWT(t *testing.T) {
	t.Parallel()
	m, _ := seeded(t)
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	signature := part("a signature that nobody is to see")
	jwt := part(`{"alg":"ES256"}`) + "." + part(`{"iss":"https://id.example.org","aud":"tokenctl","sub":"x","\u001b]52;c;eA==\u0007":"\u202edd"}`) + "." + signature
	for _, answer := range []struct {
		keys string
		code int
	}{{"n\n", 7}, {"\n", 7}, {"y\n", 0}} {
		p := m.sit(t, func(c *exec.Cmd) { c.Stdin = strings.NewReader(jwt) }, "admin", "idp", "add", "--from-jwt", "-", "--no-check")
		p.expect("nothing of it is proved")
		p.expect("add the identity provider id.example.org, whose JWTs say that they are from https://id.example.org? [y/N] ")
		p.send(answer.keys)
		p.end(answer.code)
		if screen := p.screen(); strings.Contains(screen, signature) || strings.ContainsAny(screen, "\x1b\u202e\a") {
			t.Errorf("%q", screen)
		}
		if r := m.run("", "admin", "idp", "show", "id.example.org"); (r.code == 0) != (answer.code == 0) {
			t.Errorf("after %q: %v", answer.keys, r)
		}
	}
}

package cmd

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/testdata/needs"
)

// readmeNotRun are the lines of README.md that are not run, and why. One that
// is no longer there fails.
var readmeNotRun = map[string]string{
	"go install github.com/tokenctl/tokenctl@latest": "takes a release from the network",
	"go test ./...": "is what runs this",
}

// readmeAnswers is what some lines write to stdout. One that is no longer there
// fails; all other lines may write what they like.
var readmeAnswers = map[string]string{
	`TOKEN=$(tokenctl generate)`:                            `^$`,
	`printf %s "$TOKEN" | tokenctl verify`:                  `^Valid: +yes\n`,
	`printf %s "$REFRESH" | tokenctl exchange`:              `^eyJ[\w-]+\.[\w-]+\.[\w-]+\n$`,
	`printf %s "$REFRESH" | tokenctl verify || echo`:        `^refused, exit code 3\n$`,
	`tokenctl rotate nightly --grace 24h`:                   `^tkr_\w{54}\n$`,
	`tokenctl show nightly -o json`:                         `"name":"nightly".*"status":"active"`,
	`tokenctl list --kind refresh --jq '.[].name'`:          `^nightly\n$`,
	`tokenctl revoke --kind refresh --never-used --dry-run`: `nightly`,
	`tokenctl admin explain < alice.txt`:                    `account local/alice is disabled`,
	`tokenctl admin check --deep`:                           `Problems: +-\n`,
	`curl -su "$MINE"`:                                      `"owner":"local/.*"valid":true|"valid":true.*"owner":"local/`,
	`tokenctl admin user show carol`:                        `^00u1a2b3\n$`,
	`tokenctl whoami --context laptop`:                      `local/`,
	`curl -s -H "Authorization: Bearer`:                     `"kind":"access"`,
	`tokenctl expiring --within 14d`:                        `(?s)nightly2.*exit code 3`,
	`go run . generate`:                                     `^[0-9a-z]{16}:tkp_\w{54}\n$`,
}

// A step is a line of a block of shell in README.md.
type step struct {
	number int
	text   string
}

// Everything that README.md says to type is typed, in an empty home, and works.
func TestReadmeCommands(t *testing.T) {
	t.Parallel()
	bash := needs.Program(t, "bash")
	steps := readmeSteps(t)
	repo, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}

	// Each step announces itself on both streams, so that what it wrote, and
	// where the session ended, can be told.
	// What is started in the background ends with the session, and listens where
	// nobody else does.
	script := "set -euo pipefail\ntrap 'kill $(jobs -p) 2>&- || :' EXIT\n"
	address := freeAddress(t)
	for _, s := range steps {
		script += fmt.Sprintf("echo '==%d=='; echo '==%d==' >&2\n", s.number, s.number)
		if strings.HasPrefix(s.text, "go ") {
			script += fmt.Sprintf("(cd %q; %s)\n", repo, s.text)
		} else {
			script += strings.ReplaceAll(s.text, "127.0.0.1:8470", address) + "\n"
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	home := t.TempDir()
	c := exec.CommandContext(ctx, bash, "--norc", "-c", script)
	c.Dir = home
	c.Env = append(goEnvironment(t), "HOME="+home, "PATH="+os.Getenv("PATH"), "TOKENCTL_SERVE_LISTEN="+address)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err = c.Run()
	answers, complaints := bySteps(stdout.String()), bySteps(stderr.String())
	if err != nil {
		last := len(complaints) - 1
		t.Fatalf("README.md:%d: %v\n%s", steps[max(last, 0)].number, err, complaints[steps[max(last, 0)].number])
	}

	used := map[string]bool{}
	for _, s := range steps {
		for line := range strings.Lines(complaints[s.number]) {
			if !strings.HasPrefix(line, "tokenctl: ") || strings.Contains(line, "warning") {
				t.Errorf("README.md:%d: %s says %q", s.number, s.text, line)
			}
		}
		for text, want := range readmeAnswers {
			if strings.HasPrefix(s.text, text) {
				used[text] = true
				if got := answers[s.number]; !regexp.MustCompile(want).MatchString(got) {
					t.Errorf("README.md:%d: %s answers %q, not %s", s.number, s.text, got, want)
				}
			}
		}
	}
	for text := range readmeAnswers {
		if !used[text] {
			t.Errorf("README.md does not say %q any more", text)
		}
	}
}

// readmeSteps are all lines of README.md that are to be run.
func readmeSteps(t *testing.T) (steps []step) {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	skipped := map[string]bool{}
	inBlock, continued := false, false
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "```"):
			inBlock = !inBlock && (line == "```sh" || line == "```bash" || line == "```console")
			if line == "```console" {
				t.Errorf("README.md:%d: blocks to be typed are sh", n)
			}
			continue
		case !inBlock || line == "" || strings.HasPrefix(line, "#"):
			continue
		case readmeNotRun[line] != "":
			skipped[line] = true
			continue
		case continued:
			steps[len(steps)-1].text += "\n" + line
		default:
			steps = append(steps, step{n, line})
		}
		continued = strings.HasSuffix(line, "\\")
	}
	for line := range readmeNotRun {
		if !skipped[line] {
			t.Errorf("README.md does not say %q any more", line)
		}
	}
	if len(steps) == 0 {
		t.Fatal("README.md says nothing to type")
	}
	return steps
}

// bySteps takes a stream apart by the announcements in it.
func bySteps(stream string) map[int]string {
	parts := map[int]string{}
	announced := regexp.MustCompile(`(?m)^==(\d+)==\n`)
	all := announced.FindAllStringSubmatchIndex(stream, -1)
	for i, at := range all {
		end := len(stream)
		if i+1 < len(all) {
			end = all[i+1][0]
		}
		var n int
		fmt.Sscan(stream[at[2]:at[3]], &n)
		parts[n] = stream[at[1]:end]
	}
	return parts
}

// goEnvironment is where Go has its things, for a home without any.
func goEnvironment(t *testing.T) []string {
	t.Helper()
	names := []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOFLAGS", "GOTOOLCHAIN", "GOPROXY"}
	out, err := exec.CommandContext(t.Context(), "go", append([]string{"env"}, names...)...).Output()
	if err != nil {
		t.Fatalf("go env: %v", err)
	}
	values := strings.Split(string(out), "\n")
	var env []string
	for i, name := range names {
		env = append(env, name+"="+values[i])
	}
	return append(env, "GOFLAGS=-buildvcs=false")
}

// The commands that README.md only mentions are there, too.
func TestReadmeMentions(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	argument := regexp.MustCompile(`\s*\[?\b[A-Z]+\b\]?`)
	mentions := 0
	for _, m := range regexp.MustCompile("`(tokenctl [^`\n]*)`").FindAllSubmatch(text, -1) {
		for _, args := range invocations(argument.ReplaceAllString(string(m[1]), "")) {
			mentions++
			if _, err := checkArgs(args); err != nil {
				t.Errorf("README.md mentions %q: %v", m[1], err)
			}
		}
	}
	if mentions == 0 {
		t.Error("README.md mentions no commands")
	}
}

// freeAddress is one of loopback that nobody listens at.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

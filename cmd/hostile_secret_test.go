//go:build linux

package cmd_test

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// traces are the forms in which a secret must be found nowhere: itself, its
// random part, and what anybody can compute from them without a key, in the
// encodings that one would meet.
func traces(text string) map[string][]byte {
	found := map[string][]byte{}
	parts := map[string]string{"the secret": text}
	if strings.HasPrefix(text, "eyJ") {
		parts["the signature"] = text[strings.LastIndexByte(text, '.')+1:]
	} else {
		_, pass, pair := strings.Cut(text, ":")
		if !pair {
			pass = text
		}
		parts["the passcode"] = pass
		parts["the random part"] = pass[20:52]
		parts["the random part with its checksum"] = pass[20:]
	}
	for what, part := range parts {
		b := []byte(part)
		found[what] = b
		sum256, sum1, sum5, sum512 := sha256.Sum256(b), sha1.Sum(b), md5.Sum(b), sha512.Sum512(b)
		twice := sha256.Sum256(sum256[:])
		for name, digest := range map[string][]byte{
			"": b, "SHA-256 of ": sum256[:], "SHA-1 of ": sum1[:], "MD5 of ": sum5[:], "SHA-512 of ": sum512[:], "double SHA-256 of ": twice[:],
		} {
			if name != "" {
				found[name+what] = digest[:16] // raw, cut off too
			}
			for code, encoded := range map[string]string{
				"hex": hex.EncodeToString(digest), "HEX": strings.ToUpper(hex.EncodeToString(digest)),
				"base64": base64.RawStdEncoding.EncodeToString(digest), "base64url": base64.RawURLEncoding.EncodeToString(digest),
				"base32": base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(digest),
			} {
				found[name+what+" in "+code] = []byte(encoded)[:min(len(encoded), 22)] // 16 bytes of base64
			}
		}
		sum := crc32.ChecksumIEEE(b)
		found["CRC-32 of "+what+" in hex"] = fmt.Appendf(nil, "%08x", sum)
		found["CRC-32 of "+what+" in decimal"] = strconv.AppendUint(nil, uint64(sum), 10)
	}
	return found
}

// clean fails if a text holds a trace of a secret.
func clean(t *testing.T, where string, text []byte, secrets ...string) {
	t.Helper()
	for _, s := range secrets {
		for what, trace := range traces(s) {
			if len(trace) >= 8 && bytes.Contains(text, trace) {
				t.Errorf("%s holds %s (%.4s…)", where, what, s)
			}
		}
	}
}

// All that a store, its key file, the audit log and the talk of commands hold
// is worth nothing to who wants to log in.
func TestHostileSecretsLeaveNoTrace(t *testing.T) {
	t.Parallel()
	m, s := seeded(t, "TOKENCTL_VERBOSE=true")
	var talk bytes.Buffer // all of stderr, and stdout of what shows no secret
	run := func(show bool, stdin string, args ...string) string {
		t.Helper()
		r := m.run(stdin, args...)
		fmt.Fprintf(&talk, "%s\n", r.err)
		if !show {
			fmt.Fprintf(&talk, "%s\n", r.out)
		}
		return strings.TrimSuffix(r.out, "\n")
	}
	secrets := []string{s.pair, s.refresh, s.revoked, s.deleted, s.suspended, s.jwt}
	add := func(text string) string {
		t.Helper()
		if len(text) < 58 {
			t.Fatalf("%q is no secret", text)
		}
		secrets = append(secrets, text)
		return text
	}
	grown := add(run(true, "", "generate", "refresh", "grown", "--role", "reader"))
	add(run(true, "", "rotate", "grown", "--grace", "1d"))
	jwt := add(run(true, grown, "exchange"))
	add(run(true, "", "rotate", "--kind", "user", "--yes"))
	add(run(true, "", "generate", "--owner", "alice"))

	// What is nearly right, wrong or over.
	for _, text := range secrets {
		other := "A"
		if strings.HasSuffix(text, other) {
			other = "B"
		}
		for _, stdin := range []string{text, text[:len(text)-1] + other, text[:len(text)-1], " " + text, text + "\n\n", text + text, strings.ToUpper(text)} {
			run(false, stdin, "verify")
			run(false, stdin, "verify", "-o", "json")
			run(false, stdin, "admin", "explain")
			if stdin != text {
				run(false, stdin, "exchange")
				run(false, stdin, "revoke", "--secret-stdin", "--reason", "leaked")
			}
		}
	}
	run(false, "", "show", grown)
	run(false, "", "verify", "--credential-command", "echo "+jwt)
	run(false, grown, "revoke", "--secret-stdin", "--reason", "leaked", "-o", "json")
	for _, args := range [][]string{
		{"list", "--all", "--all-owners", "-o", "json"}, {"list", "--all", "-o", "wide"}, {"list", "--all", "-o", "yaml"}, {"list", "--all", "-o", "csv"},
		{"show", s.id, "-o", "json"}, {"admin", "audit", "list", "-o", "json"}, {"admin", "audit", "verify", "-o", "json"},
		{"admin", "check", "--deep", "-o", "json"}, {"admin", "stats", "-o", "json"}, {"admin", "key", "list", "-o", "json"}, {"admin", "key", "jwks"},
		{"admin", "user", "list", "-o", "json"}, {"config", "show", "--origin"}, {"__complete", "revoke", ""},
	} {
		run(false, "", args...)
	}
	run(false, "", "admin", "key", "rotate", "file")
	run(false, "", "admin", "key", "rotate")

	clean(t, "what was said", talk.Bytes(), secrets...)
	for path := range state(t, m.home) {
		text, err := os.ReadFile(path)
		if err == nil {
			clean(t, path, text, secrets...)
		}
	}
	if talk.Len() < 10_000 {
		t.Errorf("only %d bytes were said: nothing was tried", talk.Len())
	}
	// The test itself can find what it looks for.
	digest := sha256.Sum256([]byte(s.refresh))
	probe := &testing.T{}
	clean(probe, "", []byte("x"+hex.EncodeToString(digest[:])), s.refresh)
	if !probe.Failed() {
		t.Error("a hash is not found")
	}
}

// While a process holds a secret, neither its command line nor its environment
// does, nor those of any other process.
func TestHostileSecretsInProc(t *testing.T) {
	t.Parallel()
	m, s := seeded(t)
	for _, args := range [][]string{
		{"generate", "refresh", "new"},
		{"exchange"},
		{"exchange", "--refresh-token-command", "cat " + filepath.Join(m.home, "secret")},
		{"rotate", "asleep", "--grace", "1d"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			put(t, filepath.Join(m.home, "secret"), []byte(s.refresh))
			r, w := fullPipe(t)
			defer r.Close()
			c := m.command(t.Context(), args...)
			c.Stdin, c.Stdout = strings.NewReader(s.refresh), w
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			w.Close()
			pid := itoa(c.Process.Pid)
			eventually(t, "the answer is in its memory", func() bool {
				text, err := os.ReadFile("/proc/" + pid + "/syscall")
				return err != nil || strings.HasPrefix(string(text), "1 0x1 ") || inWrite(pid)
			})
			procs := procTexts(t)
			answer := drain(t, r)
			if err := c.Wait(); err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(answer, "tk") && !strings.HasPrefix(answer, "eyJ") {
				t.Fatalf("the answer is %.20q", answer)
			}
			for where, text := range procs {
				clean(t, where, text, strings.TrimSuffix(answer, "\n"), s.refresh)
			}
			if len(procs["/proc/"+pid+"/cmdline"]) == 0 {
				t.Error("the process itself was not looked at")
			}
		})
	}
}

// inWrite tells whether a thread of a process waits to write into a pipe.
func inWrite(pid string) bool {
	tasks, _ := filepath.Glob("/proc/" + pid + "/task/*/syscall")
	for _, path := range tasks {
		text, _ := os.ReadFile(path)
		if strings.HasPrefix(string(text), "1 0x1 ") { // write(1, …) on amd64
			return true
		}
		if strings.HasPrefix(string(text), "64 0x1 ") { // on arm64
			return true
		}
	}
	return false
}

// drain empties a full pipe and returns what came after its filling.
func drain(t *testing.T, r *os.File) string {
	t.Helper()
	if err := r.SetDeadline(deadline()); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimLeft(string(text), "\x00")
}

// procTexts are command lines and environments of all processes, as far as we
// may read them.
func procTexts(t *testing.T) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/*")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]byte{}
	for _, path := range paths {
		if name := filepath.Base(path); name == "cmdline" || name == "environ" {
			if text, err := os.ReadFile(path); err == nil {
				found[path] = text
			}
		}
	}
	return found
}

// The process that clears the clipboard later knows no secret: not on its
// command line, not in its environment, not in its memory.
func TestHostileSecretsOfTheClearer(t *testing.T) {
	t.Parallel()
	m, s := seeded(t, "TOKENCTL_CLIPBOARD_TIMEOUT=1h", "TOKENCTL_TOKEN=of-the-parent")
	display := startX(t)
	m.env = append(m.env, "DISPLAY="+display)
	answer := m.must("", "generate", "refresh", "new", "--copy", "pass")
	pid := clearerOf(t, display)
	if held := clipboard(t, display); held != answer {
		t.Fatalf("on the clipboard is %.8q", held)
	}
	for _, name := range []string{"cmdline", "environ"} {
		text, err := os.ReadFile("/proc/" + pid + "/" + name)
		if err != nil || len(text) == 0 {
			t.Fatalf("%s: %v", name, err)
		}
		clean(t, name+" of the clearer", text, answer, s.pair)
		if bytes.Contains(text, []byte("of-the-parent")) {
			t.Errorf("the %s of the clearer has the parent's credential", name)
		}
	}
	text, err := memory(pid)
	if errors.Is(err, fs.ErrPermission) {
		return // the system does not let us look
	}
	if err != nil || len(text) < 10_000 {
		t.Fatalf("%d bytes of memory: %v", len(text), err)
	}
	for what, trace := range traces(answer) {
		if bytes.Contains(text, trace) && !strings.HasPrefix(what, "CRC") {
			t.Errorf("the memory of the clearer holds %s", what)
		}
	}
}

// memory is what a process can write to.
func memory(pid string) ([]byte, error) {
	maps, err := os.Open("/proc/" + pid + "/maps")
	if err != nil {
		return nil, err
	}
	defer maps.Close()
	mem, err := os.Open("/proc/" + pid + "/mem")
	if err != nil {
		return nil, err
	}
	defer mem.Close()
	var all []byte
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var begin, end int64
		var mode string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &begin, &end, &mode); err != nil || !strings.HasPrefix(mode, "rw") || end-begin > 64<<20 {
			continue
		}
		b := make([]byte, end-begin)
		n, _ := mem.ReadAt(b, begin)
		all = append(all, b[:n]...)
	}
	return all, nil
}

// clearerOf is the process that waits to clear the clipboard of a display. It
// ends with the test.
func clearerOf(t *testing.T, display string) (pid string) {
	t.Helper()
	eventually(t, "a process waits to clear the clipboard", func() bool {
		pid = findClearer(display)
		return pid != ""
	})
	t.Cleanup(func() {
		n, err := strconv.Atoi(pid)
		if err == nil && findClearer(display) == pid {
			exec.Command("kill", itoa(n)).Run()
		}
	})
	return pid
}

func findClearer(display string) string {
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range paths {
		line, _ := os.ReadFile(path)
		env, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "environ"))
		if bytes.Contains(line, []byte("__clear-clipboard")) && bytes.Contains(env, []byte("DISPLAY="+display+"\x00")) {
			return filepath.Base(filepath.Dir(path))
		}
	}
	return ""
}

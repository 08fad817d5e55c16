package terminal

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/testdata/needs"
)

const secretValue = "tkp_1k7q9v2mabcd3fgh0123456789"

// startX starts a real X server without a screen and returns its display.
func startX(t *testing.T) string {
	xvfb := needs.Program(t, "Xvfb")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command(xvfb, "-displayfd", "3", "-screen", "0", "64x64x8", "-nolisten", "tcp", "-noreset")
	cmd.ExtraFiles = []*os.File{w}
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() { cmd.Process.Signal(syscall.SIGTERM); cmd.Wait() })
	r.SetReadDeadline(time.Now().Add(patience))
	// The whole line: written to a closed pipe, the rest would end the server.
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("Xvfb did not start: %v\n%s", err, log.String())
	}
	return ":" + strings.TrimSpace(line)
}

// onlyPath is a PATH on which there is nothing but the programs.
func onlyPath(t *testing.T, programs ...string) string {
	dir := shortDir(t)
	if err := os.Chmod(dir, 0o755); err != nil { // for the user of waylandBoard
		t.Fatal(err)
	}
	for _, p := range programs {
		if err := os.Symlink(needs.Program(t, p), filepath.Join(dir, p)); err != nil {
			t.Fatal(err)
		}
	}
	return "PATH=" + dir
}

// board is the clipboard of one display, and how it is used from outside.
type board struct {
	t        *testing.T
	set, get []string
	env      []string
	self     string              // the test binary
	as       *syscall.Credential // nil: the user of the tests
}

// boards are the tools that can be put to the test here.
var boards = map[string]func(*testing.T) board{
	"xclip":   xBoard("xclip", []string{"xclip", "-in", "-selection", "clipboard"}, []string{"xclip", "-out", "-selection", "clipboard"}),
	"xsel":    xBoard("xsel", []string{"xsel", "--input", "--clipboard"}, []string{"xsel", "--output", "--clipboard"}),
	"wl-copy": waylandBoard,
}

func xBoard(tool string, set, get []string) func(*testing.T) board {
	return func(t *testing.T) board {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		// xsel does nothing without a HOME.
		return board{t, set, get, []string{"DISPLAY=" + startX(t), onlyPath(t, tool), "HOME=" + t.TempDir()}, self, nil}
	}
}

// waylandBoard starts sway, which refuses to run as root.
func waylandBoard(t *testing.T) board {
	sway := needs.Program(t, "sway")
	dir := shortDir(t)
	b := board{t: t, set: []string{"wl-copy"}, get: []string{"wl-paste", "--no-newline"}, self: filepath.Join(dir, "self")}
	self, err := os.Executable()
	if err == nil {
		err = exec.Command("cp", self, b.self).Run() // to where that user can run it
	}
	if err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		b.as = &syscall.Credential{Uid: 65534, Gid: 65534}
		if err := os.Chown(dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{onlyPath(t, "wl-copy", "wl-paste", "cat", "rm"), "HOME=" + dir, "TMPDIR=" + dir, "XDG_RUNTIME_DIR=" + dir}
	cmd := exec.Command(sway, "-c", os.DevNull)
	cmd.Env = append(env[:len(env):len(env)], "WLR_BACKENDS=headless", "WLR_LIBINPUT_NO_DEVICES=1", "WLR_RENDERER=pixman")
	b.run(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// A wl-copy whose display dies may leave its file in /tmp.
		b.command([]string{"wl-copy", "--clear"}).Run()
		eventually(t, "wl-copy and its rm have ended", func() bool {
			for pid, argv := range users(dir) {
				if pid != strconv.Itoa(cmd.Process.Pid) && !strings.Contains(argv, ClearerArg) {
					return false
				}
			}
			return true
		})
		cmd.Process.Kill() // it is slow to obey SIGTERM
		cmd.Wait()
	})
	eventually(t, "a Wayland display", func() bool {
		displays, _ := filepath.Glob(filepath.Join(dir, "wayland-[0-9]"))
		if len(displays) == 0 {
			return false
		}
		b.env = append(env[:len(env):len(env)], "WAYLAND_DISPLAY="+filepath.Base(displays[0]))
		return b.command([]string{"wl-copy", "--clear"}).Run() == nil // the socket is there before it listens
	})
	return b
}

// users are the processes that have dir in their environment, with their argv.
func users(dir string) map[string]string {
	found := map[string]string{}
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		environ, _ := os.ReadFile(file)
		argv, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		if bytes.Contains(environ, []byte(dir)) {
			found[filepath.Base(filepath.Dir(file))] = string(argv)
		}
	}
	return found
}

// run makes cmd run as the user of the display.
func (b board) run(cmd *exec.Cmd) *exec.Cmd {
	if b.as != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: b.as}
	}
	return cmd
}

func (b board) command(args []string) *exec.Cmd {
	cmd := exec.Command(needs.Program(b.t, args[0]), args[1:]...)
	cmd.Env = b.env
	return b.run(cmd)
}

// holds gives "" for a clipboard without text, too.
func (b board) holds() string {
	out, _ := b.command(b.get).Output()
	return string(out)
}

// put sets the clipboard and waits until it can be read: xsel answers a moment
// later than it returns.
func (b board) put(text string) {
	b.t.Helper()
	cmd := b.command(b.set)
	cmd.Stdin = strings.NewReader(text)
	if err := cmd.Run(); err != nil {
		b.t.Fatal(err)
	}
	eventually(b.t, "clipboard holds "+text, func() bool { return b.holds() == text })
}

// copies runs the program that copies, and waits for the end of its output as
// the reader of a pipe does.
func (b board) copies(env ...string) copyReport {
	t := b.t
	t.Helper()
	cmd := b.run(program(t, "copy", append(b.env, env...)...))
	cmd.Path, cmd.Args[0] = b.self, b.self
	cmd.Stdin = strings.NewReader(secretValue)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output() // exec.ErrWaitDelay if something keeps a pipe open
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	var r copyReport
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if r.Clearer > 0 {
		t.Cleanup(func() { syscall.Kill(r.Clearer, syscall.SIGKILL) })
	}
	return r
}

func TestCopyToX(t *testing.T) {
	for tool, start := range boards {
		t.Run(tool, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			r := b.copies("TERMINAL_TEST_AFTER=1h", "TOKENCTL_TOKEN=hunter2")
			if r.How != tool || r.ClearsIn != time.Hour || r.Err != "" || r.Text != "copied to the clipboard with "+tool+", cleared in 1h0m0s" {
				t.Fatalf("%+v", r)
			}
			eventually(t, "our value on the clipboard", func() bool { return b.holds() == secretValue })
			checkClearer(t, r.Clearer, b.self)
		})
	}
}

// checkClearer looks at the process that was left behind.
func checkClearer(t *testing.T, pid int, self string) {
	t.Helper()
	proc := func(name string) string {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		if err != nil {
			t.Fatalf("the clearer is gone: %v", err)
		}
		return string(b)
	}
	if got := proc("cmdline"); got != self+"\x00"+ClearerArg+"\x00" {
		t.Errorf("argv: %q", got)
	}
	for _, pair := range strings.Split(strings.TrimSuffix(proc("environ"), "\x00"), "\x00") {
		if name, _, _ := strings.Cut(pair, "="); !slices.Contains(clearerEnv, name) {
			t.Errorf("environment: %s", pair)
		}
	}
	// After "pid (name)": state, parent, process group, session, terminal.
	_, after, _ := strings.Cut(proc("stat"), ") ")
	fields := strings.Fields(after)
	if own := strconv.Itoa(pid); fields[2] != own || fields[3] != own || fields[4] != "0" {
		t.Errorf("group %s, session %s, terminal %s of process %d", fields[2], fields[3], fields[4], pid)
	}
	if dir, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); dir != "/" {
		t.Errorf("in folder %s", dir)
	}
	for fd := 1; fd <= 2; fd++ {
		if to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd)); to != os.DevNull {
			t.Errorf("stream %d leads to %s", fd, to)
		}
	}
}

func TestCopyIsClearedInTheEnd(t *testing.T) {
	for tool, start := range boards {
		t.Run(tool, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			// Long enough for xsel to begin answering.
			r := b.copies("TERMINAL_TEST_AFTER=1s")
			if r.ClearsIn != time.Second {
				t.Fatalf("%+v", r)
			}
			// Not: seen first, then gone; a slow machine may see it too late.
			// That it was there is the claim of TestCopyToX.
			eventually(t, "the clearer has ended", func() bool { return ended(r.Clearer) })
			eventually(t, "the clipboard is empty", func() bool { return b.holds() == "" })
		})
	}
}

// ended: gone, or a zombie where process 1 does not reap.
func ended(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, _ := strings.Cut(string(b), ") ")
	return err != nil || strings.HasPrefix(after, "Z")
}

// clear runs the clearer to its end, told to clear value at once.
func (b board) clear(value string) {
	b.t.Helper()
	cmd := b.run(exec.Command(b.self, ClearerArg))
	cmd.Env = b.env
	cmd.Stdin = bytes.NewReader(newHandover(value, 0).bytes())
	cmd.WaitDelay = patience
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		b.t.Fatalf("%v, %q", err, out)
	}
}

func TestClearerClearsOnlyWhatIsOurs(t *testing.T) {
	for tool, start := range boards {
		t.Run(tool, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			b.put(secretValue)
			b.clear("something else")
			if got := b.holds(); got != secretValue {
				t.Errorf("a foreign value became %q", got)
			}
			b.clear(secretValue + "\n")
			if got := b.holds(); got != secretValue {
				t.Errorf("a value that only begins like ours became %q", got)
			}
			b.clear(secretValue)
			eventually(t, "the clipboard is empty", func() bool { return b.holds() == "" })
		})
	}
}

// onTerminal is copies with a controlling terminal; it returns what the terminal
// got, too.
func onTerminal(t *testing.T, env ...string) (copyReport, string) {
	t.Helper()
	cmd := program(t, "copy", env...)
	cmd.Stdin = strings.NewReader(secretValue)
	s := startSession(t, cmd)
	out, _ := s.end()
	var r copyReport
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if r.How == osc52Name {
		s.expect("\a")
	}
	return r, s.shown.String()
}

var secretOSC52 = "\x1b]52;c;" + base64.StdEncoding.EncodeToString([]byte(secretValue)) + "\a"

func TestCopyFallsBackToTheTerminal(t *testing.T) {
	// A display that takes the connection and never answers.
	silent := func(t *testing.T) string {
		for n := 100; n < 1000; n++ {
			if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 6000+n)); err == nil {
				t.Cleanup(func() { l.Close() })
				return fmt.Sprintf("DISPLAY=127.0.0.1:%d", n)
			}
		}
		t.Fatal("no free port")
		return ""
	}
	for _, c := range []struct {
		name string
		env  func(*testing.T) []string
		why  string
	}{
		{"no tool", func(t *testing.T) []string { return []string{onlyPath(t), "DISPLAY=:0"} }, "installed"},
		{"no display", func(t *testing.T) []string { return []string{onlyPath(t, "xclip")} }, "no display"},
		{"Wayland alone, X tool alone", func(t *testing.T) []string { return []string{onlyPath(t, "xsel"), "WAYLAND_DISPLAY=wayland-0"} }, "no display"},
		{"dead display", func(t *testing.T) []string { return []string{onlyPath(t, "xclip"), "DISPLAY=127.0.0.1:59000"} }, "xclip: "},
		{"silent display", func(t *testing.T) []string { return []string{onlyPath(t, "xclip"), silent(t)} }, "xclip: no answer in time"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if r, shown := onTerminal(t, append(c.env(t), "TERMINAL_TEST_AFTER=1ms")...); r.How != osc52Name || r.ClearsIn != 0 || shown != secretOSC52 {
				t.Errorf("%+v, %q", r, shown)
			}
		})
		t.Run(c.name+", no terminal", func(t *testing.T) {
			t.Parallel()
			cmd := program(t, "copy", append(c.env(t), "TERMINAL_TEST_AFTER=1ms")...)
			cmd.Stdin = strings.NewReader(secretValue)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // without any terminal
			out, err := cmd.Output()
			var r copyReport
			if json.Unmarshal(out, &r); err != nil || !r.None || !strings.Contains(r.Err, c.why) || strings.Contains(r.Err, secretValue) {
				t.Errorf("%v, %+v", err, r)
			}
		})
	}
}

func TestCopyOverSSHLeavesTheClipboardHereAlone(t *testing.T) {
	t.Parallel()
	b := boards["xclip"](t)
	for _, variable := range []string{"SSH_TTY=/dev/pts/7", "SSH_CONNECTION=192.0.2.1 50000 192.0.2.2 22"} {
		if r, shown := onTerminal(t, append(b.env, variable)...); r.How != osc52Name || shown != secretOSC52 || b.holds() != "" {
			t.Errorf("%s: %+v, %q, clipboard %q", variable, r, shown, b.holds())
		}
	}
}

func TestClearerOfAFailedCopyEnds(t *testing.T) {
	t.Parallel()
	home := shortDir(t)
	b := board{t: t, env: []string{onlyPath(t, "xclip"), "DISPLAY=127.0.0.1:59000", "HOME=" + home}}
	b.self, _ = os.Executable()
	if r := b.copies("TERMINAL_TEST_AFTER=1h"); !r.None {
		t.Fatalf("%+v", r)
	}
	eventually(t, "nobody waits to clear nothing", func() bool { return len(users(home)) == 0 })
}

// tmux starts a server with one window that waits.
func tmux(t *testing.T) func(args ...string) string {
	bin := needs.Program(t, "tmux")
	socket := filepath.Join(shortDir(t), "s") // a path under 108 bytes
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(bin, append([]string{"-S", socket, "-f", os.DevNull}, args...)...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TERM=xterm-256color", "LANG=C.UTF-8"}
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	if out := run("new-session", "-d", "-x", "80", "-y", "24", "cat"); out != "" {
		t.Fatal(out)
	}
	t.Cleanup(func() { run("kill-server") })
	return run
}

func shortDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "tty")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// inTmux is the command line of a program that copies in a tmux window.
func inTmux(t *testing.T) string {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("printf %%s %s | SSH_TTY=x TERMINAL_TEST_ROLE=copy '%s'; cat", secretValue, self)
}

func TestOSC52ReachesTmux(t *testing.T) {
	t.Parallel()
	run := tmux(t)
	run("set-option", "-s", "set-clipboard", "on")
	run("new-window", inTmux(t))
	eventually(t, "our value in tmux", func() bool { return run("show-buffer") == secretValue })
}

func TestOSC52ReachesTheTerminalAroundTmux(t *testing.T) {
	t.Parallel()
	run := tmux(t)
	run("set-option", "-s", "set-clipboard", "off")
	run("set-option", "-g", "allow-passthrough", "on")
	socket := strings.TrimSpace(run("display-message", "-p", "#{socket_path}"))
	client := exec.Command(needs.Program(t, "tmux"), "-S", socket, "attach")
	client.Env = []string{"PATH=" + os.Getenv("PATH"), "TERM=xterm-256color", "LANG=C.UTF-8"}
	s := attach(t, client)
	eventually(t, "a client", func() bool { return run("list-clients") != "" })
	run("new-window", inTmux(t))
	s.expect(secretOSC52)
}

func TestOSC52ReachesTheTerminalAroundScreen(t *testing.T) {
	t.Parallel()
	bin := needs.Program(t, "screen")
	dir := shortDir(t)
	cmd := exec.Command(bin, "-c", os.DevNull, "/bin/sh", "-c", inTmux(t))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TERM=xterm", "LANG=C.UTF-8", "SCREENDIR=" + dir, "HOME=" + dir}
	s := attach(t, cmd)
	s.expect(secretOSC52)
	s.send("\x04") // ends cat, and with it screen's own server
	s.end()
}

// attach runs a program with the terminal as its stdin and stdout.
func attach(t *testing.T, cmd *exec.Cmd) *session {
	s := newSession(t, cmd)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.slave, s.slave, s.slave
	s.start()
	return s
}

//go:build linux

package cmd_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/privatefile"
)

// connects makes a connection that rotates, with a retry window.
func (m *machine) connects(name, window string) {
	m.t.Helper()
	m.must("", "admin", "connection", "add", name, "--rotate", "--retry-window", window)
}

// newFamily makes a refresh token of a connection of that name.
func (m *machine) newFamily(name string) string {
	m.t.Helper()
	return m.must("", "generate", "refresh", name, "--connection", name)
}

// goesOn sees to it that a refresh token is the good one of its family, which is
// the only one of its name.
func (m *machine) goesOn(name, text string) {
	m.t.Helper()
	m.must(text, "verify")
	if got := m.must("", "list", "--all", "--name", name, "--jq", ".[].status"); got != "active" {
		m.t.Errorf("the refresh tokens %s are %q", name, got)
	}
}

// rotations is how many exchanges have rotated a refresh token.
func (m *machine) rotations() int {
	m.t.Helper()
	return strings.Count(m.must("", "admin", "audit", "list", "--jq", ".[].detail"), "by an exchange")
}

// redeem exchanges a refresh token at the token endpoint, and says what takes
// its place, or the error.
func (s *running) redeem(text string) string {
	s.m.t.Helper()
	resp, err := http.PostForm("http://"+s.main+"/oauth2/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {text}})
	if err != nil {
		s.m.t.Fatal(err)
	}
	defer resp.Body.Close()
	var body map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		s.m.t.Fatal(err)
	}
	if why, failed := body["error"].(string); failed {
		return why
	}
	next, _ := body["refresh_token"].(string)
	return next
}

// What was used up before a restart gets the same answer after it, as long as it
// is time for that, and later ends the family.
func TestServeRotationOverRestart(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.connects("long", "10m")
	m.connects("short", "2s")
	s := m.serve()
	long, short := m.newFamily("long"), m.newFamily("short")
	nextLong, nextShort := s.redeem(long), s.redeem(short)
	used := time.Now()
	s.kill()
	s = m.serve()
	if got := s.redeem(long); got != nextLong {
		t.Error("the retry after a restart gets another answer")
	}
	m.must(nextLong, "verify")
	m.must(nextShort, "verify")
	time.Sleep(time.Until(used.Add(4 * time.Second))) // times are rounded by a second
	if got := s.redeem(short); got != "invalid_grant" {
		t.Errorf("after the window: %.12s", got)
	}
	m.ends(m.run(nextShort, "verify"), 3)
	if got := m.must("", "list", "--all", "--name", "short", "--jq", ".[].revoked_reason"); !strings.Contains(got, "used again") {
		t.Errorf("the family ended because of %q", got)
	}
	if next := s.redeem(nextLong); next == nextLong || !strings.HasPrefix(next, "tkr_") {
		t.Errorf("the other family: %.12s", next)
	}
	s.stop()
}

// wire is a proxy on TCP. What comes back to the client of each answer, of which
// it is the nth, is for deliver to say.
type wire struct {
	net.Listener
	answers atomic.Int64
}

func newWire(t testing.TB, server string, deliver func(n int, answer []byte) []byte) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Listener: l}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if answer := passOn(c, server); len(answer) > 0 {
					c.Write(deliver(int(w.answers.Add(1)), answer))
				}
			}()
		}
	}()
	return w
}

// passOn sends one request to the server, and returns the whole answer.
func passOn(client net.Conn, server string) []byte {
	var request, answer bytes.Buffer
	asked, err := http.ReadRequest(bufio.NewReader(io.TeeReader(client, &request)))
	if err != nil {
		return nil
	}
	io.Copy(io.Discard, asked.Body)
	s, err := net.Dial("tcp", server)
	if err != nil {
		return nil
	}
	defer s.Close()
	s.SetDeadline(time.Now().Add(patience))
	s.Write(request.Bytes())
	if resp, err := http.ReadResponse(bufio.NewReader(io.TeeReader(s, &answer)), asked); err == nil {
		io.Copy(io.Discard, resp.Body)
	}
	return answer.Bytes()
}

func (w *wire) url() string { return "http://" + w.Addr().String() }

// An answer that a proxy cuts off is asked for again, and the family goes on: by
// the command itself, and by the next one where all of its tries were cut off.
func TestRotationAnswerCutOff(t *testing.T) {
	t.Parallel()
	m := newMachine(t, patient)
	m.connects("ci", "10m")
	s := m.serve()
	file := filepath.Join(m.home, "refresh")
	put(t, file, []byte(m.newFamily("ci")+"\n"))
	var cutAt, cuts atomic.Int64
	w := newWire(t, s.main, func(_ int, answer []byte) []byte {
		if cuts.Add(-1) < 0 {
			return answer
		}
		return answer[:min(int(cutAt.Load()), len(answer)-1)]
	})
	exchange := func() result {
		return m.run("", "exchange", "--server", w.url(), "--refresh-token-file", file, "--refresh-token-output", file)
	}
	content := func() string { return refreshToken(t, file) }
	rotations := 0
	for _, at := range []int64{0, 1, 40, 300, 1 << 20} {
		cutAt.Store(at)
		before := content()
		cuts.Store(1)
		m.ends(exchange(), 0)
		if rotations++; content() == before || cuts.Load() >= 0 {
			t.Errorf("cut at %d: nothing was rotated, or cut", at)
		}
		m.goesOn("ci", content())
		if got := m.rotations(); got != rotations {
			t.Errorf("cut at %d: there were %d rotations, not %d", at, got, rotations)
		}
	}
	before := content()
	cuts.Store(1000)
	m.ends(exchange(), 6)
	if content() != before {
		t.Error("without an answer the file has changed")
	}
	cuts.Store(0)
	m.ends(exchange(), 0)
	m.goesOn("ci", content())
	if got := m.rotations(); got != rotations+1 {
		t.Errorf("there were %d rotations, not %d", got, rotations+1)
	}
	s.stop()
}

// refreshToken is what is in a file.
func refreshToken(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// locksSaved keeps all others from changing what says which tokens are saved,
// until the file is closed.
func (m *machine) locksSaved() *os.File {
	f, err := os.OpenFile(filepath.Join(m.home, ".config", "tokenctl", "saved.yaml.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = privatefile.Lock(context.Background(), f)
	}
	if err != nil {
		m.t.Error(err)
	}
	return f
}

// A process that is killed before it has the answer, or before it has saved what
// is in it, loses nothing: the one that is saved gets the same answer again.
func TestRotationKilled(t *testing.T) {
	t.Parallel()
	m, seed := seeded(t, patient)
	m.connects("turning", "10m")
	s := m.serve()
	victims, delivered := make(chan *os.Process, 1), make(chan bool, 1)
	var mode atomic.Value
	mode.Store("whole")
	var lock *os.File
	w := newWire(t, s.main, func(_ int, answer []byte) []byte {
		switch mode.Load() {
		case "kill":
			(<-victims).Kill()
			return nil
		case "lock":
			lock = m.locksSaved()
			delivered <- true
		}
		return answer
	})
	m.env = append(m.env, "TOKENCTL_SERVER="+w.url(), "TOKENCTL_TOKEN="+seed.pair)
	m.must("", "generate", "refresh", "turning", "--connection", "turning", "--save")
	start := func() *exec.Cmd {
		c := m.command(context.Background(), "exchange", "turning")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	ended := func(c *exec.Cmd) {
		t.Helper()
		if c.Wait(); c.ProcessState.ExitCode() != -1 {
			t.Errorf("it was not killed: %v", c.ProcessState)
		}
		mode.Store("whole")
	}
	rotations := 0
	heals := func() {
		t.Helper()
		m.must("", "exchange", "turning") // what the one that was killed got
		m.must("", "exchange", "turning")
		rotations += 2
	}

	mode.Store("kill")
	c := start()
	victims <- c.Process
	ended(c)
	heals()

	// It waits for whoever else changes the file, until it is killed.
	mode.Store("lock")
	c = start()
	<-delivered
	time.Sleep(500 * time.Millisecond)
	c.Process.Kill()
	ended(c)
	lock.Close()
	heals()

	if got := m.must("", "list", "--all", "--name", "turning", "--jq", ".[].status"); got != "active" {
		t.Errorf("the refresh tokens are %q", got)
	}
	if got := m.rotations(); got != rotations {
		t.Errorf("there were %d rotations, not %d", got, rotations)
	}
	s.stop()
}

// The same at any moment, again and again: none of the dead keeps the next one
// waiting, and each finds a refresh token that is good.
func TestRotationKilledAnyMoment(t *testing.T) {
	t.Parallel()
	m := newMachine(t, patient)
	m.connects("turning", "10m")
	m.must("", "generate", "refresh", "kept", "--connection", "turning", "--save")
	begin := time.Now()
	m.must("", "exchange", "kept")
	whole, killed := time.Since(begin), 0
	for range 40 {
		c := m.command(context.Background(), "exchange", "kept")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(rand.N(whole), func() { c.Process.Kill() })
		if c.Wait(); c.ProcessState.ExitCode() == -1 {
			killed++
		}
	}
	if killed == 0 {
		t.Error("none was killed")
	}
	before := m.rotations()
	for range 2 { // the first may get what a dead one has left unsaved
		m.ends(m.run("", "exchange", "kept"), 0)
	}
	if got := m.rotations(); got <= before {
		t.Errorf("the one that is saved is an old one: %d rotations, then %d", before, got)
	}
	if got := m.must("", "list", "--all", "--name", "kept", "--jq", ".[].status"); got != "active" {
		t.Errorf("the refresh tokens are %q", got)
	}
}

// inTheWay keeps a new version of a file of the wallet from being written.
func (m *machine) inTheWay(name string) (remove func()) {
	path := filepath.Join(m.home, ".config", "tokenctl", name+".new")
	if err := os.MkdirAll(filepath.Join(path, "full"), 0o700); err != nil {
		m.t.Error(err)
	}
	return func() { os.RemoveAll(path) }
}

// Where a new refresh token cannot be saved, none is made; one that never changes
// is exchanged all the same.
func TestRotationThatCannotBeSaved(t *testing.T) {
	t.Parallel()
	m := newMachine(t, patient)
	m.connects("turning", "10m")
	m.must("", "generate", "refresh", "kept", "--connection", "turning", "--save")
	m.must("", "generate", "refresh", "plain", "--save")
	for _, name := range []string{"saved.yaml", "credentials.yaml"} {
		remove := m.inTheWay(name)
		m.ends(m.run("", "exchange", "kept"), 6, `"kept" was not exchanged`, name+" was not written", "hint: see that the folder can be written")
		m.ends(m.run("", "exchange", "plain"), 0)
		remove()
	}
	if got := m.rotations(); got != 0 {
		t.Errorf("there were %d rotations", got)
	}
	m.must("", "exchange", "kept")
}

// What becomes of the folder after that is told with both ways out.
func TestRotationThatIsNotSaved(t *testing.T) {
	t.Parallel()
	m, seed := seeded(t, patient)
	m.connects("turning", "10m")
	s := m.serve()
	var armed atomic.Bool
	remove := func() {}
	w := newWire(t, s.main, func(_ int, answer []byte) []byte {
		if armed.CompareAndSwap(true, false) {
			remove = m.inTheWay("saved.yaml")
		}
		return answer
	})
	m.env = append(m.env, "TOKENCTL_SERVER="+w.url(), "TOKENCTL_TOKEN="+seed.pair)
	m.must("", "generate", "refresh", "kept", "--connection", "turning", "--save")
	armed.Store(true)
	m.ends(m.run("", "exchange", "kept"), 6, `"kept" was rotated`, "hint: see that the folder can be written", "; then do it again at once")
	remove()
	m.ends(m.run("", "exchange", "kept"), 0)
	if got := m.rotations(); got != 1 {
		t.Errorf("there were %d rotations", got)
	}
	s.stop()
}

// Processes that exchange one saved refresh token at once leave the newest one.
func TestRotationOfSavedTogether(t *testing.T) {
	t.Parallel()
	m := newMachine(t, patient)
	m.connects("turning", "10m")
	m.must("", "generate", "refresh", "turning", "--connection", "turning", "--save")
	for range 3 {
		for _, r := range together(m, 6, func(int) []string { return []string{"exchange", "turning"} }) {
			m.ends(r, 0)
		}
	}
	// Only the newest one is rotated; an older one gets what took its place.
	before := m.rotations()
	m.must("", "exchange", "turning")
	if got := m.rotations(); got != before+1 {
		t.Errorf("the one that is saved is an old one: %d rotations, then %d", before, got)
	}
}

// The same of a refresh token in a file.
func TestRotationOfFileTogether(t *testing.T) {
	t.Parallel()
	m := newMachine(t, patient)
	m.connects("ci", "10m")
	file := filepath.Join(m.home, "refresh")
	put(t, file, []byte(m.newFamily("ci")+"\n"))
	for range 3 {
		for _, r := range together(m, 6, func(int) []string {
			return []string{"exchange", "--refresh-token-file", file, "--refresh-token-output", file}
		}) {
			m.ends(r, 0)
		}
		m.goesOn("ci", refreshToken(t, file))
	}
}

// A process that is late does not put an older refresh token in the place of a
// newer one.
func TestRotationLate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what     string
		generate []string
		exchange []string
		told     []string
	}{
		{"a file", []string{"--output-file", "FILE"}, []string{"--refresh-token-file", "FILE", "--refresh-token-output", "FILE"}, []string{"another process has changed"}},
		{"a saved one", []string{"--save"}, []string{"kept"}, nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			m, seed := seeded(t, patient)
			m.connects("rotating", "10m")
			s := m.serve()
			var hold atomic.Bool
			there, release := make(chan bool, 1), make(chan bool)
			w := newWire(t, s.main, func(_ int, answer []byte) []byte {
				if hold.CompareAndSwap(true, false) {
					there <- true
					<-release
				}
				return answer
			})
			m.env = append(m.env, "TOKENCTL_SERVER="+w.url(), "TOKENCTL_TOKEN="+seed.pair)
			with := func(command []string, more []string) []string {
				args := slices.Concat(command, more)
				for i := range args {
					args[i] = strings.Replace(args[i], "FILE", filepath.Join(m.home, "refresh"), 1)
				}
				return args
			}
			m.must("", with([]string{"generate", "refresh", "kept", "--connection", "rotating"}, c.generate)...)
			exchange := func() result { return m.run("", with([]string{"exchange"}, c.exchange)...) }
			hold.Store(true)
			late := make(chan result)
			go func() { late <- exchange() }()
			<-there
			for range 2 {
				m.ends(exchange(), 0)
			}
			close(release)
			m.ends(<-late, 0, c.told...)
			// Only the newest one is rotated; an older one gets what took its place.
			m.ends(exchange(), 0)
			if got := m.rotations(); got != 3 {
				t.Errorf("an older one has taken the place of the newest: there were %d rotations", got)
			}
			s.stop()
		})
	}
}

//go:build linux

package cmd_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tokenctl/tokenctl/testdata/needs"
)

// Power fails: what was not fsynced is lost, or is on the disk in part and in
// any order. kill -9 cannot show that, for the system keeps what a dead process
// wrote. So the system calls of a real process are logged and played back into
// a model of a disk that keeps no more than it must, the model crashes after
// every one of them, and a real process looks at what is left.

// disk is a folder and what is below it.
type disk struct {
	home string
	root *inode
	said string // what the process has written to standard output
}

// inode is a file or a folder: as it is on the disk, and what was done to it
// since the last fsync.
type inode struct {
	folder  bool
	content []byte
	writes  []write
	size    int64 // with all writes
	names   map[string]*inode
	renames []map[string]*inode // each entry at once or not at all; nil: no more such name
}

type write struct {
	at   int64 // -1: cut, or make longer, to size
	size int64
	data []byte
}

func (w write) to(content []byte) []byte {
	end := w.size
	if w.at >= 0 {
		end = max(int64(len(content)), w.at+int64(len(w.data)))
	}
	content = append(content, make([]byte, max(0, end-int64(len(content))))...)[:end]
	if w.at >= 0 {
		copy(content[w.at:], w.data)
	}
	return content
}

// newDisk is a disk on which everything below a folder is safe.
func newDisk(t *testing.T, home string) *disk {
	t.Helper()
	d := &disk{home: home, root: &inode{folder: true, names: map[string]*inode{}}}
	there := state(t, home)
	for _, path := range slices.Sorted(maps.Keys(there)) { // folders before what is in them
		if path == home {
			continue
		}
		node := &inode{folder: strings.HasPrefix(there[path], "d"), names: map[string]*inode{}}
		if _, content, is := strings.Cut(there[path], " "); is && !node.folder {
			node.content, node.size = []byte(content), int64(len(content))
		}
		d.find(filepath.Dir(path)).names[filepath.Base(path)] = node
	}
	return d
}

// find is what a path leads to now, in memory; nil: nothing, or out of the disk.
func (d *disk) find(path string) *inode {
	rest, below := strings.CutPrefix(path, d.home)
	if !below {
		return nil
	}
	node := d.root
	for name := range strings.SplitSeq(strings.Trim(rest, "/"), "/") {
		if name != "" && node != nil {
			node = node.now()[name]
		}
	}
	return node
}

func (n *inode) now() map[string]*inode {
	names := maps.Clone(n.names)
	for _, change := range n.renames {
		apply(names, change)
	}
	return names
}

func apply(names, change map[string]*inode) {
	for name, node := range change {
		names[name] = node
		if node == nil {
			delete(names, name)
		}
	}
}

// call is one line of strace's log: a system call that worked.
type call struct {
	name string
	args []string // paths, texts and file descriptors as the path behind them
	fd   string
}

var (
	callLine    = regexp.MustCompile(`^\d+ +(\w+)\((.*)\) += (\d+)`)
	unfinished  = regexp.MustCompile(`^(\d+ +)(\w+\(.*) <unfinished \.\.\.>$`)
	resumed     = regexp.MustCompile(`^(\d+ +)<\.\.\. \w+ resumed>(.*)$`)
	hexText     = regexp.MustCompile(`\\x[0-9a-f]{2}`)
	traced      = "?open,openat,?mkdir,mkdirat,?link,linkat,?rename,renameat,renameat2,?unlink,unlinkat,pwrite64,write,ftruncate,fsync,fdatasync"
	traceOption = []string{"-f", "-y", "-xx", "-s", "10000000", "-e", "trace=" + traced, "-e", "signal=none", "-o"}
)

// strace is the beginning of a command that logs the system calls of another.
func strace(t *testing.T, log string) []string {
	t.Helper()
	wrap := append(append([]string{needs.Program(t, "strace")}, traceOption...), log)
	probe := &machine{t: t, program: "/bin/true", wrap: wrap}
	if out, err := probe.command(t.Context()).CombinedOutput(); err != nil {
		needs.Missing(t, "strace cannot trace here: "+string(out))
	}
	return wrap
}

func readCalls(t *testing.T, log string) (calls []call) {
	t.Helper()
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	begun := map[string]string{} // by process, the call that it is in
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if m := unfinished.FindStringSubmatch(line); m != nil {
			begun[m[1]] = m[2]
			continue
		}
		if m := resumed.FindStringSubmatch(line); m != nil {
			line = m[1] + begun[m[1]] + m[2]
		}
		m := callLine.FindStringSubmatch(line)
		if m == nil {
			continue // it failed, or is no call
		}
		c := call{name: strings.TrimSuffix(m[1], "2")}
		for i, arg := range strings.Split(m[2], ", ") {
			fd, path, is := strings.Cut(arg, "<")
			if is {
				arg = strings.TrimSuffix(path, ">")
			}
			if i == 0 {
				c.fd = fd
			}
			arg = hexText.ReplaceAllStringFunc(strings.Trim(arg, `"`), func(x string) string {
				b, _ := strconv.ParseUint(x[2:], 16, 8)
				return string([]byte{byte(b)})
			})
			c.args = append(c.args, arg)
		}
		// The older forms of the calls name no folder.
		switch c.name {
		case "open", "mkdir", "unlink":
			c.name, c.args = c.name+"at", append([]string{""}, c.args...)
		case "link", "rename":
			c.name, c.args = c.name+"at", []string{"", c.args[0], "", c.args[1]}
		}
		calls = append(calls, c)
	}
	return calls
}

// do plays a call back, and reports whether it had to do with the disk.
func (d *disk) do(t *testing.T, c call) bool {
	t.Helper()
	number := func(i int) int64 {
		n, err := strconv.ParseInt(c.args[i], 10, 64)
		if err != nil {
			t.Fatalf("%s: argument %d: %v", c.name, i, err)
		}
		return n
	}
	name := func(path string, node *inode) bool {
		if !strings.HasPrefix(path, d.home+"/") {
			return false
		}
		up := d.find(filepath.Dir(path))
		up.renames = append(up.renames, map[string]*inode{filepath.Base(path): node})
		return true
	}
	switch c.name {
	case "openat":
		if !strings.Contains(c.args[2], "O_CREAT") || d.find(c.args[1]) != nil {
			return false
		}
		return name(c.args[1], &inode{})
	case "mkdirat":
		return name(c.args[1], &inode{folder: true, names: map[string]*inode{}})
	case "linkat":
		return name(c.args[3], d.find(c.args[1]))
	case "unlinkat":
		return name(c.args[1], nil)
	case "renameat":
		node := d.find(c.args[1])
		if node == nil {
			return false
		}
		if filepath.Dir(c.args[1]) != filepath.Dir(c.args[3]) {
			t.Fatal("a file moves to another folder: the model does not know that")
		}
		up := d.find(filepath.Dir(c.args[1]))
		up.renames = append(up.renames, map[string]*inode{filepath.Base(c.args[1]): nil, filepath.Base(c.args[3]): node})
		return true
	}
	if c.name == "write" && c.fd == "1" {
		d.said += c.args[1]
		return true
	}
	node := d.find(c.args[0])
	if node == nil {
		return false
	}
	w := write{at: -1}
	switch c.name {
	case "write":
		w.at, w.data = node.size, []byte(c.args[1])
	case "pwrite64":
		w.at, w.data = number(3), []byte(c.args[1])
	case "ftruncate":
		w.size = number(1)
	case "fsync", "fdatasync":
		node.sync()
		return true
	default:
		return false
	}
	node.writes = append(node.writes, w)
	if node.size = max(node.size, w.at+int64(len(w.data))); w.at < 0 {
		node.size = w.size
	}
	return true
}

func (n *inode) sync() {
	for _, w := range n.writes {
		n.content = w.to(n.content)
	}
	for _, change := range n.renames {
		apply(n.names, change)
	}
	n.writes, n.renames = nil, nil
}

// sector is what a disk writes whole, in bytes.
const sector = 512

// crash writes into a folder what a power failure leaves: with luck nil no more
// than what was fsynced, else by chance also some of the rest.
func (n *inode) crash(t *testing.T, folder string, luck *rand.Rand) {
	t.Helper()
	names := maps.Clone(n.names)
	if luck != nil && len(n.renames) > 0 {
		for _, change := range n.renames[:luck.IntN(len(n.renames)+1)] {
			apply(names, change)
		}
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, node := range names {
		path := filepath.Join(folder, name)
		if node.folder {
			node.crash(t, path, luck)
			continue
		}
		content := slices.Clone(node.content)
		for _, w := range node.writes {
			if luck == nil || luck.IntN(2) == 0 {
				continue
			}
			if len(w.data) > sector && luck.IntN(3) == 0 { // torn
				w.data = w.data[:sector*luck.IntN(len(w.data)/sector)]
			}
			content = w.to(content)
		}
		put(t, path, content)
	}
}

// replay plays a log back, and has the states looked at that a crash may leave
// after each call: the worst one, and some by chance. It returns what was found
// wrong first, and how many states there were.
func (d *disk) replay(t *testing.T, calls []call, chances int, look func(home string, said string) error) (states int, wrong error) {
	t.Helper()
	luck := rand.New(rand.NewPCG(3, 4))
	scratch := filepath.Join(t.TempDir(), "left")
	for i, c := range calls {
		if !d.do(t, c) {
			continue
		}
		for chance := range 1 + chances {
			with := luck
			if chance == 0 {
				with = nil
			}
			if err := os.RemoveAll(scratch); err != nil {
				t.Fatal(err)
			}
			d.root.crash(t, scratch, with)
			states++
			if err := look(scratch, d.said); err != nil {
				return states, fmt.Errorf("crash after call %d of %d, %s: %w", i+1, len(calls), c.name, err)
			}
		}
	}
	return states, nil
}

// What is acknowledged survives a power failure at any moment; and of a store
// that leaves out fsync the same test says that it does not.
func TestDurabilityPowerFailure(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"one by one":   {"-rounds", "8"},
		"group commit": {"-rounds", "4", "-exclusive", "-workers", "3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if states, wrong := powerFailure(t, 2, args); wrong != nil || states < 50 {
				t.Errorf("%d states: %v", states, wrong)
			}
			_, wrong := powerFailure(t, 0, append(args, "-no-sync"))
			if wrong == nil || !strings.Contains(wrong.Error(), "was made: credential not accepted") {
				t.Errorf("a store without fsync loses nothing: the test cannot fail: %v", wrong)
			}
		})
	}
}

func powerFailure(t *testing.T, chances int, args []string) (states int, wrong error) {
	t.Helper()
	m, _ := seeded(t)
	d := newDisk(t, m.home)
	log := filepath.Join(t.TempDir(), "log")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := writer(ctx, t, m, args...)
	wrap := strace(t, log)
	c.Path, c.Args = wrap[0], append(wrap, c.Args...)
	var out, stderr bytes.Buffer
	c.Stdout, c.Stderr = &out, &stderr
	if err := c.Run(); err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	left := filepath.Join(".local", "share", "tokenctl")
	states, wrong = d.replay(t, readCalls(t, log), chances, func(home, said string) error {
		p := newPromises()
		for line := range strings.Lines(said) {
			if err := p.take(strings.TrimSuffix(line, "\n")); err != nil {
				return err
			}
		}
		return p.kept(filepath.Join(home, left, "tokens.db"), filepath.Join(home, left, "tokens.key"))
	})
	if wrong == nil && d.said != out.String() {
		t.Fatalf("the log holds %q, the process has said %q", d.said, out.String())
	}
	return states, wrong
}

// Commands that make files: whenever the power fails, the next command finds
// its way, and what was said holds.
func TestDurabilityPowerFailureOfFiles(t *testing.T) {
	t.Parallel()
	type look func(t *testing.T, after *machine, s seed, said string) error
	works := func(after *machine, codes []int, stdin string, args ...string) error {
		if r := after.run(stdin, args...); !slices.Contains(codes, r.code) {
			return fmt.Errorf("%v", r)
		}
		return nil
	}
	for name, c := range map[string]struct {
		fresh bool
		stdin func(seed) string
		args  []string
		look  look
	}{
		"first use": {true, nil, []string{"generate"}, func(t *testing.T, after *machine, _ seed, said string) error {
			if strings.HasSuffix(said, "\n") {
				return works(after, []int{0}, said, "verify")
			}
			return works(after, []int{0, 5}, "", "generate")
		}},
		"output file": {false, nil, []string{"generate", "refresh", "new", "--output-file", "HOME/secret"}, func(t *testing.T, after *machine, s seed, said string) error {
			text, err := os.ReadFile(filepath.Join(after.home, "secret"))
			if said == "END" && err != nil {
				return err
			}
			if said == "END" {
				return works(after, []int{0}, string(text), "verify")
			}
			return works(after, []int{0}, s.refresh, "verify")
		}},
		"first signing key": {false, func(s seed) string { return s.refresh }, []string{"exchange"}, func(t *testing.T, after *machine, s seed, said string) error {
			if strings.HasSuffix(said, "\n") {
				return works(after, []int{0}, said, "verify")
			}
			return works(after, []int{0}, s.refresh, "exchange")
		}},
		"key file": {false, nil, []string{"admin", "key", "rotate", "file"}, func(t *testing.T, after *machine, s seed, said string) error {
			if err := works(after, []int{0}, s.pair, "verify"); err != nil {
				return err
			}
			if err := works(after, []int{0}, s.refresh, "exchange"); err != nil {
				return err
			}
			return works(after, []int{0}, "", "generate", "refresh", "new")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, s := seeded(t)
			if c.fresh {
				m = newMachine(t)
			}
			d := newDisk(t, m.home)
			log := filepath.Join(t.TempDir(), "log")
			m.wrap = strace(t, log)
			stdin := ""
			if c.stdin != nil {
				stdin = c.stdin(s)
			}
			args := slices.Clone(c.args)
			for i := range args {
				args[i] = strings.Replace(args[i], "HOME", m.home, 1)
			}
			if r := m.run(stdin, args...); r.code != 0 {
				t.Fatal(r)
			}
			after := newMachine(t)
			seen := func(home, said string) error {
				after.home = home
				return c.look(t, after, s, said)
			}
			states, wrong := d.replay(t, readCalls(t, log), 2, seen)
			if wrong == nil && d.said == "" { // it ended, which says that all is done
				left := filepath.Join(t.TempDir(), "left")
				d.root.crash(t, left, nil)
				wrong = seen(left, "END")
			}
			if wrong != nil || states < 10 {
				t.Errorf("%d states: %v", states, wrong)
			}
		})
	}
}

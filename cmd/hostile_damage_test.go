//go:build linux

package cmd_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/tokenctl/tokenctl/testdata/needs"
)

// question is a command with what it reads.
type question struct {
	stdin string
	args  []string
}

// questions are commands of every sort, reading and changing.
func questions(s seed) []question {
	return []question{
		{s.pair, []string{"verify"}},
		{s.refresh, []string{"exchange"}},
		{"", []string{"list", "--all"}},
		{"", []string{"generate", "refresh", "new"}},
		{"", []string{"rotate", s.id}},
		{s.refresh, []string{"revoke", "--secret-stdin"}},
		{"", []string{"delete", s.id}},
		{"", []string{"admin", "check", "--deep"}},
		{"", []string{"admin", "key", "rotate"}},
	}
}

// Whatever stands where the store should be, or is wrong with it: nobody can
// tell, the message names the path and the way out, and nothing is touched.
func TestHostileStoreFile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(t *testing.T, m *machine)
		tell  []string // PATH and FOLDER stand for those of the store
	}{
		"empty":     {func(t *testing.T, m *machine) { put(t, m.db(), nil) }, []string{"PATH is empty", "hint: restore a backup"}},
		"half":      {func(t *testing.T, m *machine) { cut(t, m, 2) }, []string{"PATH is damaged", "missing", "hint: "}},
		"a quarter": {func(t *testing.T, m *machine) { cut(t, m, 4) }, []string{"PATH is damaged", "missing", "hint: "}},
		"one byte":  {func(t *testing.T, m *machine) { put(t, m.db(), []byte{0}) }, []string{"PATH is damaged", "hint: "}},
		"garbage":   {func(t *testing.T, m *machine) { put(t, m.db(), garbage(len(theSeed.db))) }, []string{"PATH is not a store", "hint: check the path"}},
		"zeros":     {func(t *testing.T, m *machine) { put(t, m.db(), make([]byte, len(theSeed.db))) }, []string{"PATH is not a store", "hint: "}},
		"text":      {func(t *testing.T, m *machine) { put(t, m.db(), bytes.Repeat([]byte("tokens\n"), 5000)) }, []string{"PATH is not a store", "hint: "}},
		"folder":    {func(t *testing.T, m *machine) { instead(t, m.db(), func(p string) error { return os.Mkdir(p, 0o700) }) }, []string{"PATH is a folder"}},
		"fifo": {func(t *testing.T, m *machine) {
			instead(t, m.db(), func(p string) error { return syscall.Mkfifo(p, 0o600) })
		}, []string{"PATH is no regular file"}},
		"socket": {func(t *testing.T, m *machine) { instead(t, m.db(), socket) }, []string{"PATH is no regular file"}},
		"dangling link": {func(t *testing.T, m *machine) {
			instead(t, m.db(), func(p string) error { return os.Symlink("nowhere", p) })
		}, []string{"PATH is not there"}},
		"loop of links": {func(t *testing.T, m *machine) { instead(t, m.db(), func(p string) error { return os.Symlink(p, p) }) }, []string{"PATH cannot be opened: too many levels of symbolic links"}},
		"link to device": {func(t *testing.T, m *machine) {
			instead(t, m.db(), func(p string) error { return os.Symlink("/dev/zero", p) })
		}, []string{"PATH"}},
		"mode 0644":       {func(t *testing.T, m *machine) { chmod(t, m.db(), 0o644) }, []string{"PATH is open to others: mode 0644", "hint: chmod 600 PATH"}},
		"mode 0620":       {func(t *testing.T, m *machine) { chmod(t, m.db(), 0o620) }, []string{"PATH is open to others: mode 0620", "hint: chmod 600 PATH"}},
		"folder 0777":     {func(t *testing.T, m *machine) { chmod(t, m.folder(), 0o777) }, []string{"FOLDER: mode 0777", "hint: chmod go-w FOLDER"}},
		"folder 0720":     {func(t *testing.T, m *machine) { chmod(t, m.folder(), 0o720) }, []string{"FOLDER: mode 0720", "hint: chmod go-w FOLDER"}},
		"link, open door": {linkInOpenFolder, []string{"is a symbolic link in a folder that others can write"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, s := seeded(t)
			c.spoil(t, m)
			cannotTell(t, m, s, c.tell)
		})
	}
}

// cannotTell asks everything, and expects no answer and no change.
func cannotTell(t *testing.T, m *machine, s seed, tell []string) {
	t.Helper()
	var want []string
	for _, text := range tell {
		want = append(want, strings.NewReplacer("PATH", m.db(), "FOLDER", m.folder(), "KEY", m.key()).Replace(text))
	}
	before := state(t, m.home)
	for _, q := range questions(s) {
		r := m.run(q.stdin, q.args...)
		m.ends(r, 6, want...)
		if r.out != "" {
			t.Errorf("an answer all the same: %v", r)
		}
	}
	untouched(t, m.home, before)
}

func instead(t *testing.T, path string, create func(string) error) {
	t.Helper()
	err := os.Remove(path)
	if err == nil {
		err = create(path)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func socket(path string) error {
	// The name may be too long for an address: bind it from its own folder.
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return syscall.Bind(fd, &syscall.SockaddrUnix{Name: filepath.Join("/proc/self/fd", itoa(int(dir.Fd())), filepath.Base(path))})
}

func chmod(t testing.TB, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func cut(t *testing.T, m *machine, part int) {
	t.Helper()
	if err := os.Truncate(m.db(), int64(len(theSeed.db)/part)); err != nil {
		t.Fatal(err)
	}
}

func garbage(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// linkInOpenFolder leads to the store through a folder in which anybody could
// put another link.
func linkInOpenFolder(t *testing.T, m *machine) {
	open := filepath.Join(m.home, "open")
	err := os.Mkdir(open, 0o700)
	if err == nil {
		err = os.Symlink(m.folder(), filepath.Join(open, "store"))
	}
	if err != nil {
		t.Fatal(err)
	}
	chmod(t, open, 0o777)
	m.env = append(m.env, "TOKENCTL_STORE=bolt://"+filepath.Join(open, "store", "tokens.db"))
}

// Links that only we can have made are followed.
func TestHostileOwnLinks(t *testing.T) {
	t.Parallel()
	m, s := seeded(t)
	elsewhere := filepath.Join(m.home, "elsewhere")
	err := os.Rename(m.folder(), elsewhere)
	if err == nil {
		err = os.Symlink(elsewhere, m.folder())
	}
	if err == nil {
		err = os.Rename(m.db(), m.db()+".real")
	}
	if err == nil {
		err = os.Symlink("tokens.db.real", m.db())
	}
	if err != nil {
		t.Fatal(err)
	}
	m.must(s.pair, "verify")
	m.must(m.must("", "generate", "refresh", "new"), "verify")
	if info, err := os.Lstat(m.db()); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v, %v", info, err)
	}
}

// The same for the key file: without it, or with another one, nothing is made,
// verified or signed, and above all no new one is made.
func TestHostileKeyFile(t *testing.T) {
	t.Parallel()
	lines := func(change func([]string) []string) func(*testing.T, *machine) {
		return func(t *testing.T, m *machine) {
			put(t, m.key(), []byte(strings.Join(change(strings.SplitAfter(string(theSeed.key), "\n")), "")))
		}
	}
	for name, c := range map[string]struct {
		spoil func(t *testing.T, m *machine)
		tell  []string
	}{
		"gone":    {func(t *testing.T, m *machine) { instead(t, m.key(), func(string) error { return nil }) }, []string{"KEY", "missing", "put back", "no token"}},
		"empty":   {func(t *testing.T, m *machine) { put(t, m.key(), nil) }, []string{"KEY", "garbled", "put back"}},
		"garbage": {func(t *testing.T, m *machine) { put(t, m.key(), garbage(241)) }, []string{"KEY", "garbled", "put back"}},
		"huge":    {func(t *testing.T, m *machine) { put(t, m.key(), garbage(4<<20)) }, []string{"KEY", "garbled", "too large", "put back"}},
		"cut":     {func(t *testing.T, m *machine) { put(t, m.key(), theSeed.key[:len(theSeed.key)-4]) }, []string{"KEY", "garbled", "line"}},
		"one bit": {flipKey, []string{"KEY", "garbled", "line"}},
		"no sum":  {lines(func(l []string) []string { return l[:len(l)-2] }), []string{"KEY", "garbled", "sum"}},
		"no key":  {lines(func(l []string) []string { return slices.Delete(l, 3, 4) }), []string{"KEY", "garbled"}},
		"newer format": {func(t *testing.T, m *machine) {
			put(t, m.key(), bytes.Replace(theSeed.key, []byte("keys 1"), []byte("keys 2"), 1))
		}, []string{"KEY", "newer"}},
		"mode 0644": {func(t *testing.T, m *machine) { chmod(t, m.key(), 0o644) }, []string{"KEY", "0644", "chmod 600"}},
		"mode 0604": {func(t *testing.T, m *machine) { chmod(t, m.key(), 0o604) }, []string{"KEY", "0604", "chmod 600"}},
		"folder": {func(t *testing.T, m *machine) {
			instead(t, m.key(), func(p string) error { return os.Mkdir(p, 0o700) })
		}, []string{"KEY", "not a regular file"}},
		"fifo": {func(t *testing.T, m *machine) {
			instead(t, m.key(), func(p string) error { return syscall.Mkfifo(p, 0o600) })
		}, []string{"KEY", "not a regular file"}},
		"dangling link": {func(t *testing.T, m *machine) {
			instead(t, m.key(), func(p string) error { return os.Symlink("nowhere", p) })
		}, []string{"KEY", "missing"}},
		"of another": {func(t *testing.T, m *machine) {
			other := newMachine(t)
			other.must("", "generate")
			key, err := os.ReadFile(other.key())
			if err != nil {
				t.Fatal(err)
			}
			put(t, m.key(), key)
		}, []string{"KEY does not belong to this store", "hint: put back"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, s := seeded(t)
			c.spoil(t, m)
			cannotTell(t, m, s, c.tell)
		})
	}
}

// flipKey changes one bit of the key itself, not of its form.
func flipKey(t *testing.T, m *machine) {
	key := bytes.Clone(theSeed.key)
	at := bytes.Index(key, []byte("Z ")) + 10
	if key[at] == 'A' {
		key[at] = 'B'
	} else {
		key[at] = 'A'
	}
	put(t, m.key(), key)
}

// A store that was cut anywhere, or in which any byte is another, ends in an
// answer that is right, in a refusal, or in "cannot tell": never in a crash, and
// never in a yes to what was revoked or never made.
func TestHostileCutAndFlipped(t *testing.T) {
	t.Parallel()
	_, s := seeded(t)
	type damage struct {
		what string
		make func() []byte
	}
	var all []damage
	page := os.Getpagesize()
	for end := 0; end < len(s.db); end += page {
		for _, at := range []int{end, end + 100} {
			all = append(all, damage{"cut at " + itoa(at), func() []byte { return s.db[:at] }})
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	flip := func(at int) {
		with := byte(1) << random.IntN(8)
		all = append(all, damage{"flipped at " + itoa(at), func() []byte {
			b := bytes.Clone(s.db)
			b[at] ^= with
			return b
		}})
	}
	for begin := 0; begin < len(s.db); begin += page {
		for range 2 { // the head of a page and of its first elements
			flip(begin + random.IntN(min(64, len(s.db)-begin)))
		}
		for range 4 {
			flip(begin + random.IntN(min(page, len(s.db)-begin)))
		}
	}
	work := make(chan damage)
	var workers sync.WaitGroup
	for range 2 {
		m, _ := seeded(t)
		workers.Go(func() {
			for d := range work {
				if t.Failed() { // one is enough to look into
					continue
				}
				t.Run(d.what, func(t *testing.T) {
					m.t = t
					withDamage(t, m, s, d.make())
				})
			}
		})
	}
	for _, d := range all {
		work <- d
	}
	close(work)
	workers.Wait()
}

func withDamage(t *testing.T, m *machine, s seed, db []byte) {
	forged := s.refresh[:20] + strings.Repeat("A", 32)
	for _, c := range []struct {
		q     question
		codes []int
	}{
		{question{s.refresh, []string{"verify"}}, []int{0, 3, 6}},
		{question{s.revoked, []string{"verify"}}, []int{3, 6}},
		{question{forged + crcOf(forged), []string{"verify"}}, []int{3, 6}},
		{question{"", []string{"list", "--all"}}, []int{0, 6}},
		{question{"", []string{"generate", "refresh", "new"}}, []int{0, 3, 4, 5, 6}},
	} {
		put(t, m.db(), db)
		before := state(t, m.folder())
		r := m.run(c.q.stdin, c.q.args...)
		if !slices.Contains(c.codes, r.code) {
			t.Fatal(r)
		}
		if r.code == 6 {
			untouched(t, m.folder(), before)
		}
		if c.q.args[0] == "generate" && r.code == 0 {
			if again := m.run(r.out, "verify"); again.code != 0 {
				t.Fatalf("the new token is not accepted: %v", again)
			}
		}
	}
}

// stranger is who may write nothing that the tests make, unless told to.
func stranger(t testing.TB, m *machine) {
	t.Helper()
	if os.Getuid() != 0 {
		return // we are one
	}
	m.as = &syscall.Credential{Uid: 65534, Gid: 65534}
	// Let that user in: to the program, and to the home.
	program := filepath.Join(t.TempDir(), "tokenctl")
	// Not written by ourselves: a process that is started meanwhile would hold
	// the file open for writing, and then it cannot be run.
	if out, err := exec.Command("cp", m.program, program).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	m.program = program
	for _, path := range []string{filepath.Dir(program), m.home} {
		for dir := path; strings.HasPrefix(dir, os.TempDir()+"/"); dir = filepath.Dir(dir) {
			chmod(t, dir, 0o755)
		}
	}
	if err := filepath.Walk(m.home, func(path string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, 65534, 65534)
	}); err != nil {
		t.Fatal(err)
	}
}

// In a folder that we cannot write to, everything that only reads still works.
func TestHostileReadOnlyFolder(t *testing.T) {
	t.Parallel()
	m, s := seeded(t)
	stranger(t, m)
	chmod(t, m.db(), 0o400)
	chmod(t, m.key(), 0o400)
	chmod(t, m.folder(), 0o500)
	readOnly(t, m, s)
	chmod(t, m.folder(), 0o700) // so that it can be removed

	first := newMachine(t)
	stranger(t, first)
	chmod(t, first.home, 0o555)
	before := state(t, first.home)
	first.ends(first.run("", "generate"), 6, first.folder())
	first.ends(first.run("", "list"), 6, first.folder())
	untouched(t, first.home, before)
	chmod(t, first.home, 0o755)
}

func readOnly(t *testing.T, m *machine, s seed) {
	t.Helper()
	before := state(t, m.home)
	for _, q := range questions(s) {
		r := m.run(q.stdin, q.args...)
		switch strings.Join(q.args[:1], " ") {
		case "verify", "exchange", "list", "show":
			m.ends(r, 0)
		case "admin":
			if q.args[1] != "key" {
				m.ends(r, 0)
				break
			}
			m.ends(r, 6, m.folder())
		default:
			m.ends(r, 6, m.folder())
			if r.out != "" {
				t.Errorf("an answer all the same: %v", r)
			}
		}
	}
	untouched(t, m.home, before)
}

// The same on a file system that is mounted so.
func TestHostileReadOnlyFileSystem(t *testing.T) {
	t.Parallel()
	m, s := seeded(t)
	m.wrap = mounted(t, m.folder(), `mount --bind "$0" "$0" && mount -o remount,ro,bind "$0"`)
	readOnly(t, m, s)
}

// mounted is the beginning of a command that runs in a mount namespace of its
// own, after a script has mounted something on the folder ($0).
func mounted(t *testing.T, folder, script string) []string {
	t.Helper()
	wrap := []string{needs.Program(t, "unshare"), "-m", "sh", "-c", script + ` && exec "$@"`, folder}
	probe := newMachine(t)
	probe.wrap, probe.program = wrap, "/bin/true"
	if out, err := probe.command(t.Context()).CombinedOutput(); err != nil {
		needs.Missing(t, "no mounting here: "+string(out))
	}
	return wrap
}

// A file that belongs to somebody else is not trusted, even by root.
func TestHostileForeignOwner(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		needs.Missing(t, "only root can give files away")
	}
	for name, path := range map[string]func(*machine) string{"PATH": (*machine).db, "KEY": (*machine).key, "FOLDER": (*machine).folder} {
		m, s := seeded(t)
		if err := os.Chown(path(m), 65534, 65534); err != nil {
			t.Fatal(err)
		}
		cannotTell(t, m, s, []string{name, "belongs to another user"})
	}
}

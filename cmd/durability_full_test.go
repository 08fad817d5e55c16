//go:build linux

package cmd_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A disk that is full: what was acknowledged before is there, what fails says
// so and shows no secret, and the store can still be read.
func TestDurabilityFullDisk(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		wrap   func(t *testing.T, m *machine) []string
		before string
	}{
		"no space": {func(t *testing.T, m *machine) []string {
			size := itoa(len(theSeed.db) + 100<<10)
			return mounted(t, m.folder(), `rm -rf "$0.copy"; cp -a "$0" "$0.copy" && mount -t tmpfs -o mode=0700,size=`+size+` none "$0" && cp -a "$0.copy/." "$0"`)
		}, ""},
		"size limit": {func(*testing.T, *machine) []string { return nil }, "ulimit -f 200; "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, _ := seeded(t)
			left, told := filepath.Join(m.home, "left"), filepath.Join(m.home, "told")
			wrap := c.wrap(t, m)
			// A smaller one may still find room after the one that did not.
			script := `made=0 code=0
				while [ $made -lt 2000 ]; do
					"$0" generate refresh >>"$1/told" 2>"$1/error" || { code=$?; break; }
					made=$((made+1))
				done
				echo $code $made >"$1/exit"
				"$0" list >/dev/null && "$0" verify <"$1/first" >/dev/null && echo fine >>"$1/exit"
				mkdir "$1/left" && cp -a "$2/." "$1/left"`
			m.wrap = append(wrap, "/bin/sh", "-c", c.before+script)
			put(t, filepath.Join(m.home, "first"), []byte(m.mustPlain(t)))
			if r := m.run("", m.home, m.folder()); r.code != 0 {
				t.Fatal(r)
			}
			text := func(path string) string {
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				return string(b)
			}
			exit := strings.Fields(text(filepath.Join(m.home, "exit")))
			if len(exit) != 3 || exit[0] != "6" || exit[1] == "0" || exit[1] == "2000" || exit[2] != "fine" {
				t.Fatalf("exit code, tokens made, and whether it can be read: %q; %s", exit, text(filepath.Join(m.home, "error")))
			}
			p := newPromises()
			for line := range strings.Lines(text(told)) {
				if err := p.take("made " + strings.TrimSuffix(line, "\n")); err != nil {
					t.Fatal(err)
				}
			}
			if itoa(len(p.made)) != exit[1] {
				t.Errorf("%d secrets of %s tokens", len(p.made), exit[1])
			}
			if err := p.kept(filepath.Join(left, "tokens.db"), filepath.Join(left, "tokens.key")); err != nil {
				t.Error(err)
			}
			if files, err := os.ReadDir(left); err != nil || len(files) != 2 {
				t.Errorf("in the folder: %v, %v", files, err)
			}
		})
	}
}

// mustPlain makes a token without what wraps the machine's processes.
func (m *machine) mustPlain(t *testing.T) string {
	t.Helper()
	plain := *m
	plain.wrap = nil
	return plain.must("", "generate", "refresh")
}

// The n-th system call of a sort fails, for every n: nothing is acknowledged
// that is not there, no secret is shown without its token, and the next process
// finds a store that is whole.
func TestDurabilityFailingCalls(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"fdatasync:error=EIO", "fsync:error=EIO", "pwrite64:error=ENOSPC", "ftruncate:error=EFBIG"} {
		for use, start := range map[string]func(t *testing.T) (m *machine, args []string){
			"first use": func(t *testing.T) (*machine, []string) { return newMachine(t), []string{"generate"} },
			"later": func(t *testing.T) (*machine, []string) {
				m, _ := seeded(t)
				return m, []string{"generate", "--owner", "alice"}
			},
		} {
			t.Run(fault+", "+use, func(t *testing.T) {
				t.Parallel()
				call, _, _ := strings.Cut(fault, ":")
				log := filepath.Join(t.TempDir(), "log")
				tracer := strace(t, log)[0]
				tried := 0
				for n := 1; ; n++ {
					m, args := start(t)
					m.wrap = []string{tracer, "-f", "-e", "trace=" + call, "-e", "inject=" + fault + ":when=" + itoa(n), "-o", log}
					r := m.run("", args...)
					m.wrap = nil
					text, err := os.ReadFile(log)
					if err != nil {
						t.Fatal(err)
					}
					if !strings.Contains(string(text), "(INJECTED)") {
						break
					}
					tried++
					afterFault(t, m, r)
					if t.Failed() {
						t.Fatalf("when call %d of %s fails", n, call)
					}
				}
				if tried == 0 && (use == "first use" || call == "fdatasync" || call == "pwrite64") {
					t.Error("no call failed: nothing was tried")
				}
			})
		}
	}
}

func afterFault(t *testing.T, m *machine, r result) {
	t.Helper()
	shown, whole := strings.CutSuffix(r.out, "\n")
	switch {
	case r.code == 0 && whole:
		m.must(shown, "verify")
	case r.code != 6, r.out != "":
		t.Errorf("neither done nor unknown: %v", r)
	}
	m.must("", "generate", "refresh", "after")
	m.must("", "admin", "check", "--deep")
	m.must("", "admin", "audit", "verify")
}

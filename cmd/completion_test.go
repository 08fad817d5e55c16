package cmd

import (
	"bytes"
	"context"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/testdata/needs"
)

var write = flag.Bool("write", false, "write the completion scripts and man pages anew")

// The completion scripts and man pages that are checked in are those of the
// commands as they are. With -write they are made so.
func TestGeneratedFilesAreFresh(t *testing.T) {
	t.Parallel()
	if *write {
		if err := generateFiles(testRoot(), "../completions"); err != nil {
			t.Fatal(err)
		}
	}
	fresh := t.TempDir()
	if err := generateFiles(testRoot(), fresh); err != nil {
		t.Fatal(err)
	}
	want, got := readTree(t, fresh), readTree(t, "../completions")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("completions is stale, run go generate (-fresh +checked in):\n%s", diff)
	}
}

func readTree(t *testing.T, folder string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(folder, path)
		files[filepath.ToSlash(name)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// What is written again takes the place of what was there, man pages of
// commands that are gone too.
func TestGenerateFilesReplaces(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	gone := filepath.Join(folder, "man", "tokenctl-gone.1")
	if err := os.Mkdir(filepath.Dir(gone), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{gone, filepath.Join(folder, "_tokenctl")} {
		if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := generateFiles(testRoot(), folder); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(readTree(t, "../completions"), readTree(t, folder)); diff != "" {
		t.Errorf("-checked in +written over what was there:\n%s", diff)
	}
}

// completionHome is a home with a user token and a refresh token named laptop.
// It returns it with the secrets.
func completionHome(t *testing.T) (home string, secrets []string) {
	t.Helper()
	home = t.TempDir()
	for _, args := range [][]string{{"generate"}, {"generate", "refresh", "laptop", "--role", "reader"}} {
		secrets = append(secrets, strings.TrimSpace(runShell(t, home, append([]string{"tokenctl"}, args...)...)))
	}
	return home, secrets
}

// runShell runs a program that must succeed within some time, in a home and
// with nothing of the environment but where programs are.
func runShell(t *testing.T, home string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	c.Dir = home
	c.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "TERM=dumb", "COLUMNS=200", "LC_ALL=C.UTF-8"}
	c.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		t.Fatalf("%q: %v\n%s%s", args, err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

// checkOffer checks what a shell offers after "tokenctl revoke ".
func checkOffer(t *testing.T, offer string, secrets []string) {
	t.Helper()
	for _, want := range []string{
		`laptop.*refresh token`, // the name, with what it is
		`\b[0-9a-z]{16}\b.*user token`,
	} {
		if !regexp.MustCompile(want).MatchString(offer) {
			t.Errorf("%s is not offered in %q", want, offer)
		}
	}
	for _, s := range secrets {
		_, s, _ = strings.Cut(s, "tk")
		if strings.Contains(offer, s[len(s)-20:]) {
			t.Errorf("a secret is offered in %q", offer)
		}
	}
	if strings.Contains(offer, "tkp_") || strings.Contains(offer, "tkr_") {
		t.Errorf("something like a secret is offered in %q", offer)
	}
}

func TestBashCompletes(t *testing.T) {
	t.Parallel()
	bash := needs.Program(t, "bash")
	const library = "/usr/share/bash-completion/bash_completion"
	if _, err := os.Stat(library); err != nil {
		needs.Missing(t, "bash-completion is not installed")
	}
	home, secrets := completionHome(t)
	const complete = `
source ` + library + `
source <(tokenctl completion bash)
compopt() { :; } # it works only while a person completes
offer() {
	COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=63 COMP_KEY=9
	read -ra COMP_WORDS <<<"$1"
	[[ $1 == *' ' ]] && COMP_WORDS+=('')
	COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
	__start_tokenctl
	printf '%s\n' "${COMPREPLY[@]}"
}
`
	checkOffer(t, runShell(t, home, bash, "--norc", "-c", complete+"offer 'tokenctl revoke '"), secrets)
	if got := runShell(t, home, bash, "--norc", "-c", complete+"offer 'tokenctl revoke lap'"); strings.TrimSpace(got) != "laptop" {
		t.Errorf("lap is completed to %q", got)
	}
	if got := runShell(t, home, bash, "--norc", "-c", complete+"offer 'tokenctl admin us'"); strings.TrimSpace(got) != "user" {
		t.Errorf("us is completed to %q", got)
	}
}

func TestZshCompletes(t *testing.T) {
	t.Parallel()
	zsh := needs.Program(t, "zsh")
	home, secrets := completionHome(t)
	functions := filepath.Join(home, "functions")
	if err := os.Mkdir(functions, 0o755); err != nil {
		t.Fatal(err)
	}
	script := runShell(t, home, "tokenctl", "completion", "zsh")
	if err := os.WriteFile(filepath.Join(functions, "_tokenctl"), []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	// A zsh in a terminal of its own, to which a tab is typed.
	const complete = `
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'PS1="ready> "; unsetopt beep; LISTMAX=0; fpath=(~/functions $fpath); autoload -Uz compinit; compinit -u -D; echo is${:-ready}'
zpty -r shell out '*isready*'
zpty -w -n shell $'tokenctl revoke \t'
zpty -r shell out '*(user token*refresh token|refresh token*user token)*'
print -r -- "$out"
zpty -w -n shell $'lap\t'
zpty -r shell out '*laptop *'
print -r -- "completed: $out"
zpty -d shell
`
	out := runShell(t, home, zsh, "-f", "-c", complete)
	offer, completed, _ := strings.Cut(out, "completed: ")
	checkOffer(t, offer, secrets)
	if !strings.Contains(completed, "laptop ") {
		t.Errorf("lap is completed to %q", completed)
	}
}

func TestFishCompletes(t *testing.T) {
	t.Parallel()
	fish := needs.Program(t, "fish")
	home, secrets := completionHome(t)
	offer := runShell(t, home, fish, "--no-config", "-c", `tokenctl completion fish | source; complete -C "tokenctl revoke "`)
	checkOffer(t, offer, secrets)
	got := runShell(t, home, fish, "--no-config", "-c", `tokenctl completion fish | source; complete -C "tokenctl revoke lap"`)
	if !strings.HasPrefix(got, "laptop\t") || strings.Count(got, "\n") != 1 {
		t.Errorf("lap is completed to %q", got)
	}
}

// The pages are read by man, without a complaint of groff's.
func TestManPages(t *testing.T) {
	t.Parallel()
	man := needs.Program(t, "man")
	needs.Program(t, "groff")
	for name, want := range map[string]string{
		"tokenctl.1":                  "Disposable credentials that stand in for a real login",
		"tokenctl-generate-refresh.1": "tokenctl generate refresh [NAME] [flags]",
		"tokenctl-admin-policy-set.1": "refresh_tokens: who may have refresh tokens",
	} {
		page, err := filepath.Abs(filepath.Join("../completions/man", name))
		if err != nil {
			t.Fatal(err)
		}
		c := exec.CommandContext(t.Context(), man, "--warnings", "-E", "UTF-8", "-l", page)
		c.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "MANWIDTH=120", "MAN_KEEP_FORMATTING="}
		var stdout, stderr bytes.Buffer
		c.Stdout, c.Stderr = &stdout, &stderr
		if err := c.Run(); err != nil || stderr.Len() > 0 {
			t.Errorf("%s: %v: %s", name, err, stderr.String())
		}
		text := regexp.MustCompile(`[\x{2010}\x{2212}]`).ReplaceAllString(stdout.String(), "-")
		if !strings.Contains(text, want) {
			t.Errorf("%s does not say %q:\n%s", name, want, text)
		}
	}
}

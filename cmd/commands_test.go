package cmd

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const scriptFolder = "../testdata/script"

// testRoot is the tree of commands as users see it.
func testRoot() *cobra.Command {
	a := &app{
		stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard,
		env: func(string) string { return "" }, settings: newSettings(),
	}
	root := newRoot(a)
	root.InitDefaultHelpCmd()
	return root
}

// commands are all that are not hidden, the root first.
func commands(c *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		if !sub.Hidden {
			all = append(all, commands(sub)...)
		}
	}
	return all
}

// commandFile is the name of a command's script: its words joined by
// underscores.
func commandFile(c *cobra.Command) string {
	words := strings.Fields(c.CommandPath())
	if len(words) > 1 {
		words = words[1:]
	}
	return strings.Join(words, "_")
}

// Every command says what it is for, at length, and by example.
func TestCommandsAreDescribed(t *testing.T) {
	t.Parallel()
	for _, c := range commands(testRoot()) {
		first, _ := utf8.DecodeRuneInString(c.Short)
		switch {
		case c.Short == "" || c.Long == "" || c.Example == "":
			t.Errorf("%s lacks one of Short, Long and Example", c.CommandPath())
		case !unicode.IsUpper(first) || strings.HasSuffix(c.Short, ".") || len(c.Short) > 60:
			t.Errorf("%s: Short is no heading: %q", c.CommandPath(), c.Short)
		}
		for text := range strings.Lines(c.Long + "\n" + c.Example) {
			if text = strings.TrimSuffix(text, "\n"); len(text) > 120 {
				t.Errorf("%s: a line of %d characters: %q", c.CommandPath(), len(text), text)
			}
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Hidden || f.Name == "help" {
				return
			}
			if f.Usage == "" || strings.HasSuffix(f.Usage, ".") || regexp.MustCompile(`^[A-Z][a-z]+\b`).MatchString(f.Usage) {
				t.Errorf("%s: --%s is not described as the others are: %q", c.CommandPath(), f.Name, f.Usage)
			}
		})
	}
}

// Every line of an example is a command line that makes sense, and of the
// command whose example it is.
func TestExamplesMakeSense(t *testing.T) {
	t.Parallel()
	for _, c := range commands(testRoot()) {
		for line := range strings.Lines(c.Example) {
			line = strings.TrimSuffix(line, "\n")
			if !strings.HasPrefix(line, "  ") {
				t.Errorf("%s: an example is not indented by two: %q", c.CommandPath(), line)
			}
			found := false
			for _, args := range invocations(line) {
				ran, err := checkArgs(args)
				if err != nil {
					t.Errorf("%s: example %q: %v", c.CommandPath(), line, err)
				}
				found = found || ran == c.CommandPath() || strings.HasPrefix(ran, c.CommandPath()+" ")
			}
			if !found {
				t.Errorf("%s: example %q is none of it", c.CommandPath(), line)
			}
		}
	}
}

// checkArgs says which command a command line runs and what is wrong with it,
// as far as can be known without running it.
func checkArgs(args []string) (string, error) {
	root := testRoot()
	c, rest, err := root.Find(args)
	if err != nil {
		return "", err
	}
	if err := c.ParseFlags(rest); err != nil {
		return c.CommandPath(), err
	}
	rest = c.Flags().Args()
	if c.Args != nil {
		if err := c.Args(c, rest); err != nil {
			return c.CommandPath(), err
		}
	}
	if len(rest) > 0 && c.HasAvailableSubCommands() {
		return c.CommandPath(), fmt.Errorf("no command %q", rest[0])
	}
	return c.CommandPath(), nil
}

// invocations are the arguments of every tokenctl on a line of shell. It knows
// quotes, comments, pipes, redirections and substitutions, as far as examples
// need them.
func invocations(line string) (all [][]string) {
	var words []string
	var word strings.Builder
	inWord, quote := false, rune(0)
	endWord := func() {
		if inWord {
			words = append(words, word.String())
		}
		word.Reset()
		inWord = false
	}
	endCommand := func() {
		endWord()
		if i := slices.Index(words, "tokenctl"); i >= 0 {
			all = append(all, words[i+1:])
		}
		words = nil
	}
	skipTarget := false
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, inWord = r, true
		case quote != 0:
			word.WriteRune(r)
		case r == '#' && !inWord:
			endCommand()
			return all
		case r == ' ':
			if skipTarget && inWord { // the file of a redirection
				word.Reset()
				inWord, skipTarget = false, false
				continue
			}
			endWord()
		case r == '<' || r == '>':
			endWord()
			skipTarget = true
		case strings.ContainsRune("|;&()", r):
			endCommand()
			skipTarget = false
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if skipTarget {
		word.Reset()
		inWord = false
	}
	endCommand()
	return all
}

func TestInvocations(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		`tokenctl list -o json`:                                     `[[list -o json]]`,
		`  printf %s "$T" | tokenctl verify  # says yes`:            `[[verify]]`,
		`T=$(tokenctl generate)`:                                    `[[generate]]`,
		`tokenctl admin key jwks > tokenctl`:                        `[[admin key jwks]]`,
		`tokenctl revoke --secret-stdin < tokenctl -y`:              `[[revoke --secret-stdin -y]]`,
		`source <(tokenctl completion bash)`:                        `[[completion bash]]`,
		`tokenctl list; tokenctl show 'a | b' && true`:              `[[list] [show a | b]]`,
		`tokenctl admin user add x --display-name "A #1 (tokenctl"`: `[[admin user add x --display-name A #1 (tokenctl]]`,
		`echo nothing`: `[]`,
	} {
		if got := fmt.Sprint(invocations(line)); got != want {
			t.Errorf("%s: %s, not %s", line, got, want)
		}
	}
}

// Every command has a script, and every script a command: its name is that of
// the command (admin_user_add.txtar), or of one above it, with what it is about
// in particular behind a hyphen (exchange-roles.txtar). Scripts about the local
// file begin with local_, those about a server with server_.
func TestEveryCommandHasAScript(t *testing.T) {
	t.Parallel()
	all := commands(testRoot())
	ran := map[string][]string{} // by command: the files that run it
	for file, text := range readScripts(t) {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		runs := commandsOf(text)
		for _, path := range runs {
			ran[path] = append(ran[path], name)
		}
		if strings.HasPrefix(name, "local_") || strings.HasPrefix(name, "server_") {
			continue
		}
		about := ""
		for _, c := range all {
			if f := commandFile(c); name == f || strings.HasPrefix(name, f+"-") {
				about = c.CommandPath()
			}
		}
		switch {
		case about == "":
			t.Errorf("%s is named after no command, and doesn't begin with local_", file)
		case !slices.Contains(runs, about) && !strings.HasPrefix(name, "tokenctl-"):
			t.Errorf("%s doesn't run %s", file, about)
		}
	}
	for _, c := range all {
		var names []string
		for above := c; above != nil; above = above.Parent() {
			names = append(names, commandFile(above))
		}
		if !slices.ContainsFunc(ran[c.CommandPath()], func(script string) bool {
			script = strings.TrimPrefix(script, "local_")
			return slices.ContainsFunc(names, func(n string) bool { return script == n || strings.HasPrefix(script, n+"-") })
		}) {
			t.Errorf("%s has no script: none of %v.txtar runs it", c.CommandPath(), names)
		}
	}
}

// commandsOf are the paths of the commands that a script runs.
func commandsOf(script string) (paths []string) {
	root := testRoot()
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		_, args, found := strings.Cut(strings.TrimSpace(line), "tokenctl")
		if !found {
			continue
		}
		if c, _, err := root.Find(strings.Fields(args)); err == nil {
			paths = append(paths, c.CommandPath())
		}
	}
	return paths
}

// A script says with which exit code a command fails: ! would take any, also
// that of a bug.
func TestScriptsSayExitCodes(t *testing.T) {
	t.Parallel()
	anyFailure := regexp.MustCompile(`^!\s+(exec\s|tokenctl\b)`)
	for file, text := range readScripts(t) {
		n := 0
		for line := range strings.Lines(text) {
			n++
			if anyFailure.MatchString(line) {
				t.Errorf("%s:%d: say exits CODE: %s", file, n, line)
			}
		}
	}
}

// Scripts run over any store: only those named local_ know the file.
func TestScriptsDoNotKnowTheStore(t *testing.T) {
	t.Parallel()
	file := regexp.MustCompile(`tokens\.(db|key)|bolt:|\.local/|XDG_DATA_HOME`)
	for name, text := range readScripts(t) {
		if found := file.FindString(text); found != "" && !strings.HasPrefix(filepath.Base(name), "local_") {
			t.Errorf("%s knows the file: %q", name, found)
		}
	}
}

// readScripts are the scripts by their paths, without the files in them.
func readScripts(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(scriptFolder, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	all := map[string]string{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		script, _, _ := strings.Cut(string(text), "\n-- ")
		all[filepath.ToSlash(f)] = script
	}
	return all
}

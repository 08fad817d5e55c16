package cmd_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// topLevel is all that stands there, but for the files whose names begin with
// a dot, of which this one is required.
var topLevel = strings.Fields("main.go cmd pkg completions testdata go.mod go.sum .goreleaser.yaml README.md LICENSE")

// vagueNames say nothing of what is in a folder, so everything ends there.
var vagueNames = strings.Fields("internal util common types models helpers shared")

func TestTopLevel(t *testing.T) {
	found := map[string]bool{}
	for _, name := range repoFiles(t) {
		top, _, _ := strings.Cut(name, "/")
		found[top] = true
	}
	for _, name := range topLevel {
		if !found[name] {
			t.Errorf("%s is missing at the top level", name)
		}
	}
	for name := range found {
		if !strings.HasPrefix(name, ".") && !slices.Contains(topLevel, name) {
			t.Errorf("%s doesn't belong at the top level, which has %v and dot files", name, topLevel)
		}
	}
}

func TestFolderNames(t *testing.T) {
	for _, name := range repoFiles(t) {
		for folder := range strings.SplitSeq(path.Dir(name), "/") {
			if slices.Contains(vagueNames, folder) {
				t.Errorf("%s: a folder called %s says nothing of what is in it", name, folder)
			}
		}
	}
}

func TestPackageComments(t *testing.T) {
	comments := map[string][]string{} // by folder and package: the files that have one
	packages := map[string]bool{}
	for _, f := range goFiles(t) {
		if f.isTest() {
			continue
		}
		key := path.Dir(f.name) + ", package " + f.tree.Name.Name
		packages[key] = true
		text := f.tree.Doc.Text() // without directives such as //go:build
		if text == "" {
			continue
		}
		comments[key] = append(comments[key], f.name)
		want := "Package " + f.tree.Name.Name + " "
		if f.tree.Name.Name == "main" {
			want = "Command "
		}
		if !strings.HasPrefix(text, want) {
			t.Errorf("%s: the package comment doesn't begin with %q", f.name, want)
		}
	}
	for key := range packages {
		if files := comments[key]; len(files) != 1 {
			t.Errorf("%s: %d package comments, not one: %v", key, len(files), files)
		}
	}
}

// Only main.go ends the process: everybody else returns, so that deferred work
// is done and a test can call it.
func TestWhoExits(t *testing.T) {
	exits := map[string]string{"os": "Exit", "syscall": "Exit", "log": "Fatal Fatalf Fatalln"}
	for _, f := range goFiles(t) {
		if path.Base(f.name) == "main.go" && f.tree.Name.Name == "main" || f.isTest() {
			continue
		}
		f.selectors(func(x *ast.SelectorExpr, around []ast.Node) {
			receiver, ok := x.X.(*ast.Ident)
			if !ok || !slices.Contains(strings.Fields(exits[f.imports[receiver.Name]]), x.Sel.Name) {
				return
			}
			t.Errorf("%s: %s.%s: only main.go ends the process", f.at(x), receiver.Name, x.Sel.Name)
		})
	}
}

// A test that skips itself shows nothing, so that is decided in one place,
// which turns a missing program into a failure when TOKENCTL_TEST_ALL is set.
func TestWhoSkips(t *testing.T) {
	places := map[string][]string{}
	for _, f := range goFiles(t) {
		if f.imports["testing"] == "" {
			continue
		}
		f.selectors(func(x *ast.SelectorExpr, around []ast.Node) {
			if slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, x.Sel.Name) && f.isTesting(x.X, around) {
				places[f.name] = append(places[f.name], f.at(x))
			}
		})
	}
	if len(places) > 1 {
		t.Errorf("tests skip themselves in %d files, not in one: %v", len(places), places)
	}
	for name := range places {
		if !bytes.Contains(readFile(t, name), []byte("TOKENCTL_TEST_ALL")) {
			t.Errorf("%s skips tests and doesn't ask for TOKENCTL_TEST_ALL", name)
		}
	}

	// In a script only the operating system is a reason.
	skip := regexp.MustCompile(`(?m)^[ \t]*(?:\[[^]]*\][ \t]*)*skip\b.*$`)
	system := regexp.MustCompile(`^[ \t]*\[(windows|darwin|freebsd|!linux|!unix)\][ \t]*skip\b`)
	for _, name := range repoFiles(t) {
		if path.Ext(name) != ".txtar" {
			continue
		}
		script, _, _ := bytes.Cut(readFile(t, name), []byte("\n-- "))
		for _, line := range skip.FindAll(script, -1) {
			if !system.Match(line) {
				t.Errorf("%s: %q: a script doesn't skip itself for a missing program", name, line)
			}
		}
	}
}

func TestImportsOfFiles(t *testing.T) {
	for _, f := range goFiles(t) {
		for name, imported := range f.imports {
			switch {
			case imported == "C":
				t.Errorf("%s: we build without cgo", f.name)
			case name == ".":
				t.Errorf("%s: %s comes in under a dot: nobody sees whose names are whose", f.name, imported)
			case imported == "github.com/spf13/viper" && f.name != "cmd/settings.go" && !f.isTest():
				t.Errorf("%s: only cmd/settings.go knows viper", f.name)
			}
		}
	}
}

// Texts that mean something on one machine or in one head only.
func TestTexts(t *testing.T) {
	unwanted := regexp.MustCompile(`(?:^|[^\w.-])/(?:work|root)/|\.\./` + `shared|\b(?:TO` + `DO|FIX` + `ME)\b`)
	for _, name := range repoFiles(t) {
		if name == "LICENSE" || path.Base(name) == "go.sum" {
			continue
		}
		text := readFile(t, name)
		if bytes.IndexByte(text, 0) >= 0 {
			continue
		}
		for i, line := range bytes.Split(text, []byte("\n")) {
			if found := unwanted.Find(line); found != nil {
				t.Errorf("%s:%d: %q doesn't belong into the repository", name, i+1, found)
			}
		}
	}
}

// The path of lipgloss v2 doesn't say that it is the lipgloss that everybody
// knows, so go.mod does.
func TestGoModExplainsLipgloss(t *testing.T) {
	lines := strings.Split(string(readFile(t, "go.mod")), "\n")
	i := slices.IndexFunc(lines, func(line string) bool { return strings.Contains(line, "charm.land/lipgloss/v2 v") })
	if i < 1 {
		t.Fatal("go.mod doesn't require charm.land/lipgloss/v2")
	}
	_, beside, _ := strings.Cut(lines[i], "//")
	above := strings.TrimSpace(lines[i-1])
	if !strings.HasPrefix(above, "//") {
		above = ""
	}
	if !strings.Contains(above+beside, "github.com/charmbracelet/lipgloss") {
		t.Errorf("go.mod:%d: no comment says that this is github.com/charmbracelet/lipgloss", i+1)
	}
}

// goFile is a parsed file of ours, with the names under which it imports.
type goFile struct {
	name    string
	tree    *ast.File
	set     *token.FileSet
	imports map[string]string
}

func (f goFile) isTest() bool { return strings.HasSuffix(f.name, "_test.go") }
func (f goFile) at(n ast.Node) string {
	return f.name + ":" + strconv.Itoa(f.set.Position(n.Pos()).Line)
}

// selectors visits every x.Name, called or not, with the nodes around it.
func (f goFile) selectors(visit func(x *ast.SelectorExpr, around []ast.Node)) {
	ast.PreorderStack(f.tree, nil, func(n ast.Node, around []ast.Node) bool {
		if x, ok := n.(*ast.SelectorExpr); ok {
			visit(x, around)
		}
		return true
	})
}

// isTesting reports whether an expression is a *testing.T or one of its kin.
// Others have a Skip too: rapid's means "draw another case". What isn't the
// parameter of a function around is taken for one.
func (f goFile) isTesting(x ast.Expr, around []ast.Node) bool {
	name, ok := x.(*ast.Ident)
	if !ok {
		return true
	}
	for _, n := range slices.Backward(around) {
		var parameters *ast.FieldList
		switch n := n.(type) {
		case *ast.FuncDecl:
			parameters = n.Type.Params
		case *ast.FuncLit:
			parameters = n.Type.Params
		default:
			continue
		}
		for _, p := range parameters.List {
			if slices.ContainsFunc(p.Names, func(n *ast.Ident) bool { return n.Name == name.Name }) {
				of, _, _ := strings.Cut(strings.TrimPrefix(types.ExprString(p.Type), "*"), ".")
				return f.imports[of] == "testing"
			}
		}
	}
	return true
}

// goFiles parses all Go files of ours, whatever they are built for.
func goFiles(t *testing.T) []goFile {
	t.Helper()
	var files []goFile
	for _, name := range repoFiles(t) {
		if path.Ext(name) != ".go" {
			continue
		}
		set := token.NewFileSet()
		tree, err := parser.ParseFile(set, name, readFile(t, name), parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		f := goFile{name: name, tree: tree, set: set, imports: map[string]string{}}
		for _, spec := range tree.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			local := path.Base(imported)
			if spec.Name != nil {
				local = spec.Name.Name
			}
			f.imports[local] = imported
		}
		files = append(files, f)
	}
	return files
}

// repoFiles are the files of the repository, as slashed paths from its top:
// what lies there without what .gitignore names. It asks the file system and
// not git, so that it works in an unpacked archive, and so that the cache of
// go test knows what was read.
func repoFiles(t *testing.T) []string {
	t.Helper()
	ignored := strings.Fields(regexp.MustCompile(`(?m)^#.*$`).ReplaceAllString(string(readFile(t, ".gitignore")), ""))
	var files []string
	err := filepath.WalkDir("..", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == ".." {
			return err
		}
		name = filepath.ToSlash(name)[len("../"):]
		skip := name == ".git" || slices.ContainsFunc(ignored, func(pattern string) bool {
			pattern, _ = strings.CutSuffix(pattern, "/")
			if top, ok := strings.CutPrefix(pattern, "/"); ok {
				return name == top
			}
			match, _ := path.Match(pattern, path.Base(name))
			return match
		})
		switch {
		case skip && entry.IsDir():
			return fs.SkipDir
		case !skip && !entry.IsDir():
			files = append(files, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

package cmd_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/tokenctl/tokenctl"

// layers says who may import whom, from the ground up: a package imports only
// what stands above its own line. A package, an import of ours or a module
// from outside that isn't here fails. Tests may import what they like.
//
// Rooms that are planned but not built yet have their line already.
var layers = []layer{
	{name: "privatefile", outside: "golang.org/x/sys", not: "net database"},
	{name: "secret", outside: "golang.org/x/crypto", not: "net os database math/rand"},
	{name: "keyfile", ours: "secret privatefile"},
	{name: "token", ours: "secret", outside: "golang.org/x/text", not: "net os database"},

	{name: "store", ours: "token"},
	{name: "store/bolt", ours: "store token privatefile", outside: "go.etcd.io/bbolt golang.org/x/sys"},
	{name: "store/memory", ours: "store token"},
	{name: "store/storetest", ours: "store token", outside: suite},

	{name: "audit", ours: "token store keyfile"},
	{name: "directory", ours: "secret token"},
	{name: "directory/list", ours: "secret token directory"},
	{name: "directory/directorytest", ours: "secret token directory", outside: suite},
	{name: "provision", ours: "secret token store"},
	{name: "provision/exec", ours: "secret token provision"},
	{name: "ldap", ours: "secret privatefile directory provision token", outside: "github.com/go-ldap/ldap/v3"},
	{name: "idp", ours: "secret token", outside: "github.com/coreos/go-oidc/v3 golang.org/x/oauth2 github.com/go-jose/go-jose/v4 golang.org/x/time"},
	{name: "signer", ours: "token keyfile store", outside: "github.com/go-jose/go-jose/v4"},

	{name: "authority", ours: "secret keyfile token store audit directory provision signer"},
	{name: "authority/authoritytest", ours: "secret token store audit authority", outside: suite},
	{name: "orphans", ours: "token store audit directory authority"},
	{name: "httpapi", ours: "secret token audit authority orphans", outside: "golang.org/x/time"},
	{name: "metrics", ours: "token", outside: "github.com/prometheus/client_golang"},

	{name: "wallet", ours: "token secret privatefile", outside: "github.com/zalando/go-keyring go.yaml.in/yaml/v3"},
	{name: "terminal", outside: "golang.org/x/term golang.org/x/sys github.com/atotto/clipboard github.com/aymanbagabas/go-osc52/v2 charm.land/lipgloss/v2 github.com/charmbracelet/colorprofile"},
	{name: "render", ours: "secret token authority terminal", outside: "charm.land/lipgloss/v2 go.yaml.in/yaml/v3 github.com/itchyny/gojq"},

	{name: "cmd", ours: all, outside: "github.com/spf13/cobra github.com/spf13/pflag github.com/spf13/viper go.yaml.in/yaml/v3 github.com/coreos/go-systemd/v22 github.com/cli/browser golang.org/x/net golang.org/x/sys"},
	{name: "main", ours: "cmd"},
}

// suite is what the exported test suites need beside the package testing.
const suite = "github.com/google/go-cmp pgregory.net/rapid"

// all are the packages above, without the test suites.
const all = "*"

// testModules are the modules of go.mod that only tests import.
const testModules = suite + " github.com/getkin/kin-openapi github.com/rogpeppe/go-internal github.com/creack/pty"

type layer struct {
	name    string // below pkg/; cmd and main are themselves
	ours    string // packages of ours that it may import, by name
	outside string // modules that it may import from
	not     string // packages of the standard library that it may not import, nor what lies below them
}

// goPackage is what go list says of a package on one system.
type goPackage struct {
	ImportPath     string
	GoFiles        []string
	Imports        []string
	IgnoredGoFiles []string
}

// platforms are those that we build for: what a package imports differs.
var platforms = []string{"linux", "darwin", "windows", "freebsd"}

func TestLayers(t *testing.T) {
	for _, goos := range platforms {
		for _, p := range goList(t, goos) {
			l, ok := layerOf(p.ImportPath)
			if !ok {
				t.Errorf("package %s isn't in the table of layers", p.ImportPath)
				continue
			}
			for _, imported := range p.Imports {
				if reason := l.refuses(imported); reason != "" {
					t.Errorf("%s on %s imports %s: %s", p.ImportPath, goos, imported, reason)
				}
			}
		}
	}
}

// A file that no system of ours compiles is one whose imports nobody checks.
func TestEveryFileIsBuilt(t *testing.T) {
	built, ignored := map[string]bool{}, map[string]bool{}
	for _, goos := range platforms {
		for _, p := range goList(t, goos) {
			for _, name := range p.GoFiles {
				built[path.Join(p.ImportPath, name)] = true
			}
			for _, name := range p.IgnoredGoFiles {
				if !strings.HasSuffix(name, "_test.go") {
					ignored[path.Join(p.ImportPath, name)] = true
				}
			}
		}
	}
	for name := range ignored {
		if !built[name] {
			t.Errorf("%s is compiled for none of %v", name, platforms)
		}
	}
}

// A module has a line above before it comes into go.mod, so that nobody's room
// grows a dependency in passing.
func TestOutsideModules(t *testing.T) {
	owners := map[string][]string{}
	for _, l := range layers {
		for _, m := range strings.Fields(l.outside) {
			owners[m] = append(owners[m], l.name)
		}
	}
	tests := strings.Fields(testModules)
	required := requirements(t)
	if len(required) == 0 {
		t.Fatal("go.mod requires nothing: the test reads it wrongly")
	}
	for _, m := range required {
		if owners[m] == nil && !slices.Contains(tests, m) {
			t.Errorf("go.mod requires %s, which no package may import", m)
		}
	}
	for _, m := range tests {
		for _, owner := range owners[m] {
			if !strings.HasSuffix(owner, "test") {
				t.Errorf("%s is for tests, but %s may import it", m, owner)
			}
		}
	}
}

// The table itself: a name stands once, and below what it imports.
func TestLayersPointUp(t *testing.T) {
	above := map[string]bool{}
	for _, l := range layers {
		if above[l.name] {
			t.Errorf("%s is in the table twice", l.name)
		}
		for _, o := range strings.Fields(l.ours) {
			if o != all && !above[o] {
				t.Errorf("%s may import %s, which doesn't stand above it", l.name, o)
			}
		}
		above[l.name] = true
	}
}

// refuses says why the package of this layer may not import the other, or "".
func (l layer) refuses(imported string) string {
	name, isOurs := packageName(imported)
	switch {
	case isOurs:
		if slices.Contains(strings.Fields(l.ours), name) || l.ours == all && !strings.HasSuffix(name, "test") {
			return ""
		}
		return l.name + " may import of ours: " + orNothing(l.ours)
	case imported == "C":
		return "we build without cgo"
	case !strings.Contains(strings.Split(imported, "/")[0], "."):
		return l.refusesStandard(imported)
	case slices.ContainsFunc(strings.Fields(l.outside), within(imported)):
		return ""
	}
	return l.name + " may import from outside: " + orNothing(l.outside)
}

func (l layer) refusesStandard(imported string) string {
	if slices.ContainsFunc(strings.Fields(l.not), within(imported)) {
		return l.name + " may import none of: " + l.not
	}
	forTests := strings.Fields("testing net/http/httptest")
	if !strings.HasSuffix(l.name, "test") && slices.ContainsFunc(forTests, within(imported)) {
		return "only tests and packages called …test import it"
	}
	return ""
}

// within reports whether a path is the one given or stands above it.
func within(imported string) func(string) bool {
	return func(above string) bool {
		return imported == above || strings.HasPrefix(imported, above+"/")
	}
}

func orNothing(list string) string {
	if list == "" {
		return "nothing"
	}
	return list
}

func layerOf(importPath string) (layer, bool) {
	name, _ := packageName(importPath)
	i := slices.IndexFunc(layers, func(l layer) bool { return l.name == name })
	if i < 0 {
		return layer{}, false
	}
	return layers[i], true
}

// packageName is the name that the table has for a package of ours.
func packageName(importPath string) (name string, isOurs bool) {
	if importPath == module {
		return "main", true
	}
	rest, isOurs := strings.CutPrefix(importPath, module+"/")
	if below, ok := strings.CutPrefix(rest, "pkg/"); ok {
		return below, isOurs
	}
	if rest == "cmd" {
		return rest, isOurs
	}
	return importPath, isOurs // pkg/cmd or a folder of its own: not in the table
}

// goList asks the go command what our packages import on a system.
func goList(t *testing.T, goos string) []goPackage {
	t.Helper()
	var packages []goPackage
	output := goCommand(t, goos, "list", "-json=ImportPath,GoFiles,Imports,IgnoredGoFiles", "./...")
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var p goPackage
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// requirements are the modules that go.mod asks for itself.
func requirements(t *testing.T) []string {
	t.Helper()
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	if err := json.Unmarshal(goCommand(t, "", "mod", "edit", "-json"), &mod); err != nil {
		t.Fatal(err)
	}
	var direct []string
	for _, r := range mod.Require {
		if !r.Indirect {
			direct = append(direct, r.Path)
		}
	}
	return direct
}

func goCommand(t *testing.T, goos string, args ...string) []byte {
	t.Helper()
	command := exec.Command("go", args...)
	command.Dir = ".."
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if goos != "" {
		command.Env = append(command.Env, "GOOS="+goos)
	}
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		t.Fatalf("go %s (GOOS=%s): %v\n%s", strings.Join(args, " "), goos, err, &stderr)
	}
	return output
}

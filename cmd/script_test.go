package cmd_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/itchyny/gojq"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tokenctl/tokenctl/testdata/needs"
)

// TestScripts runs testdata/script: sessions with tokenctl, each in an empty
// home. They use commands alone and don't know where the tokens are, but for
// those named local_*.txtar, which are about the file, and server_*.txtar,
// which are about a server. All others run over a server too
// ([TestScriptsOverServer]).
//
// Beside testscript's own commands they have:
//
//	exits CODE CMD ARG…       run CMD, which must end with exactly this code,
//	                          and if that isn't 0, must say why in our form
//	capture NAME [EXPR]       put the last stdout, or what the jq expression
//	                          finds in it, into the variable and the file NAME
//	until EXPR CMD ARG…       run CMD until the jq expression is true of what it says
//	json FILE EXPR            the jq expression is true of every value in FILE
//	jwt FILE                  print header and claims of a JWT as JSON
//	damage NEW OLD HOW        make NEW, variable and file, of the secret OLD
//	state FILE                write down all that the store tells, to be compared
//	serve [ARG…]              start tokenctl serve and set $SERVER to its URL
//	unserve                   stop it
//	certify NAME              make NAME.crt and NAME.key of a server on this machine
//	sign NAME JWT CLAIMS [HEADER]
//	                          make JWT, variable and file, of claims, by the key of
//	                          certify NAME: EdDSA unless the header says otherwise;
//	                          times are in seconds from now, and exp is in five
//	                          minutes unless it is there or null
//	github NAME               start what GitHub Actions answers a job with NAME's JWTs
func TestScripts(t *testing.T) {
	t.Parallel()
	p := scriptParams(emptyHome)
	p.Dir = scripts
	testscript.Run(t, p)
}

func scriptParams(setup func(*testscript.Env) error) testscript.Params {
	return testscript.Params{
		Setup:               setup,
		RequireUniqueNames:  true,
		RequireExplicitExec: false,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": scriptExits, "until": scriptUntil, "capture": scriptCapture, "json": scriptJSON,
			"jwt": scriptJWT, "damage": scriptDamage, "state": scriptState,
			"serve": scriptServe, "unserve": scriptUnserve, "certify": scriptCertify,
			"sign":   scriptSign,
			"github": scriptGitHub,
		},
	}
}

var scripts = filepath.Join("..", "testdata", "script")

// emptyHome sets up what a script sees: a home with nothing in it but what the
// script has below home/, such as a config file, no settings of the environment,
// and in $ME who its caller is.
func emptyHome(e *testscript.Env) error {
	home := filepath.Join(e.WorkDir, "home")
	e.Setenv("HOME", home)
	e.Setenv("ME", "local/"+systemUserName())
	// The keyring of whoever runs the tests is left alone.
	e.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path="+filepath.Join(e.WorkDir, "no-bus"))
	return os.MkdirAll(home, 0o700) // the script may bring some of it along
}

// systemUserName says once more who we are, in another way than the code.
func systemUserName() string {
	uid := strconv.Itoa(os.Getuid())
	u, err := user.LookupId(uid)
	if err != nil {
		return "uid-" + uid
	}
	return u.Username
}

func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE CMD ARG…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%s: %v", args[1], err)
		}
		code = exit.ExitCode()
	}
	if code != want {
		ts.Fatalf("%s ended with %d, not %d", args[1], code, want)
	}
	if code != 0 && args[1] == "tokenctl" {
		if wrong := badFailure(code, ts.ReadFile("stderr")); wrong != "" {
			ts.Fatalf("stderr %s", wrong)
		}
	}
}

var secretText = regexp.MustCompile(`tk[cprs]_[0-9A-Za-z]{30}|eyJ[\w-]+\.[\w-]+\.`)

// badFailure says what is wrong with how a command failed: what went wrong goes
// to stderr, as lines in our form or as one JSON object, and without a secret.
func badFailure(code int, stderr string) string {
	if secretText.MatchString(stderr) {
		return "holds a secret"
	}
	if strings.HasPrefix(stderr, "{") {
		var failure struct {
			Error struct {
				Code, Message string
				Hint          *string
				Exit          int
			}
		}
		if err := json.Unmarshal([]byte(stderr), &failure); err != nil {
			return "is not one JSON value: " + err.Error()
		}
		if e := failure.Error; e.Exit != code || e.Code == "" || badSentence(e.Message) != "" {
			return "does not tell the failure: " + badSentence(e.Message)
		}
		return ""
	}
	for line := range strings.Lines(stderr) {
		line = strings.TrimSuffix(line, "\n")
		text, said := strings.CutPrefix(line, "tokenctl: ")
		if !said {
			text, said = strings.CutPrefix(line, "hint: ")
		}
		switch {
		case said:
			if wrong := badSentence(text); wrong != "" {
				return wrong
			}
		case code != 7: // what is to be confirmed is shown before
			return "has a line that begins neither with tokenctl: nor with hint: " + line
		}
	}
	return ""
}

// capital is a word with a capital letter; in capitals it stands for an argument.
var capital = regexp.MustCompile(`^[A-Z][a-z]`)

// badSentence says what is wrong with the form of a message or hint.
func badSentence(s string) string {
	switch {
	case s == "":
		return "has an empty message"
	case capital.MatchString(s):
		return "has a message that begins with an upper-case letter: " + s
	case strings.HasSuffix(s, "."):
		return "has a message that ends with a full stop: " + s
	}
	return ""
}

// keep sets a variable, and makes a file of the same name for the command
// stdin.
func keep(ts *testscript.TestScript, name, value string) {
	ts.Setenv(name, value)
	ts.Check(os.WriteFile(ts.MkAbs(name), []byte(value), 0o600))
}

func scriptCapture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: capture NAME [EXPR]")
	}
	text := strings.TrimSuffix(ts.ReadFile("stdout"), "\n")
	if len(args) == 2 {
		found := query(ts, args[1], text)
		if len(found) != 1 {
			ts.Fatalf("%s finds %d values, not one", args[1], len(found))
		}
		var is bool
		if text, is = found[0].(string); !is {
			b, err := json.Marshal(found[0])
			ts.Check(err)
			text = string(b)
		}
	}
	if text == "" || strings.Contains(text, "\n") {
		ts.Fatalf("%q is not one line", text)
	}
	keep(ts, args[0], text)
}

// scriptUntil is for what a server does in the background, and a command on a
// file before it ends.
func scriptUntil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until EXPR CMD ARG…")
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		ts.Check(ts.Exec(args[1], args[2:]...))
		if found := query(ts, args[0], ts.ReadFile("stdout")); len(found) == 1 && found[0] == true {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s does not become true", args[0])
		}
	}
}

func scriptJSON(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: json FILE EXPR")
	}
	found := query(ts, args[1], ts.ReadFile(args[0]))
	if len(found) == 0 {
		ts.Fatalf("%s holds no value", args[0])
	}
	for _, v := range found {
		if v != true {
			ts.Fatalf("%s is %v", args[1], v)
		}
	}
}

// query applies a jq expression to all the JSON values of a text. The
// variables of the script are in $ENV.
func query(ts *testscript.TestScript, expr, text string) (found []any) {
	q, err := gojq.Parse(expr)
	ts.Check(err)
	variable := regexp.MustCompile(`\$ENV\.(\w+)`)
	code, err := gojq.Compile(q, gojq.WithEnvironLoader(func() (env []string) {
		for _, name := range variable.FindAllStringSubmatch(expr, -1) {
			env = append(env, name[1]+"="+ts.Getenv(name[1]))
		}
		return env
	}))
	ts.Check(err)
	for dec := json.NewDecoder(strings.NewReader(text)); ; {
		var v any
		err := dec.Decode(&v)
		if errors.Is(err, io.EOF) {
			return found
		}
		ts.Check(err)
		for results := code.Run(v); ; {
			result, more := results.Next()
			if !more {
				break
			}
			if err, failed := result.(error); failed {
				ts.Fatalf("%s: %v", expr, err)
			}
			found = append(found, result)
		}
	}
}

func scriptJWT(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: jwt FILE")
	}
	parts := strings.Split(strings.TrimSpace(ts.ReadFile(args[0])), ".")
	if len(parts) != 3 {
		ts.Fatalf("%d parts are no JWT", len(parts))
	}
	decoded := map[string]json.RawMessage{}
	for i, name := range []string{"header", "claims"} {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		ts.Check(err)
		decoded[name] = b
	}
	ts.Check(json.NewEncoder(ts.Stdout()).Encode(decoded))
}

// damages are the ways in which a secret is copied badly.
var damages = map[string]func(string) string{
	"truncate": func(s string) string { return s[:len(s)-1] },
	"behead":   func(s string) string { return s[1:] },
	"extend":   func(s string) string { return s + "0" },
	"pad":      func(s string) string { return s + "=" },
	"indent":   func(s string) string { return " " + s },
	"trail":    func(s string) string { return s + " " },
	"lines":    func(s string) string { return s + "\n\n" },
	"double":   func(s string) string { return s + s },
	"split":    func(s string) string { return s[:40] + "\n" + s[40:] },
	"upper":    strings.ToUpper,
	"lower":    strings.ToLower,
	"swapcase": func(s string) string { return flipLast(s, unicode.IsLetter, swapCase) },
	"change":   func(s string) string { return flipLast(s, func(rune) bool { return true }, another) },
	"first":    func(s string) string { return string(another(rune(s[0]))) + s[1:] },
	"middle": func(s string) string {
		i := len(s) - 20 // in the random part of every form
		return s[:i] + string(another(rune(s[i]))) + s[i+1:]
	},
	"newline": func(s string) string { return s + "\n" }, // no damage
	"crlf":    func(s string) string { return s + "\r\n" },
}

// flipLast changes the last character of a kind.
func flipLast(s string, kind func(rune) bool, to func(rune) rune) string {
	i := strings.LastIndexFunc(s, kind)
	return s[:i] + string(to(rune(s[i]))) + s[i+1:]
}

func swapCase(c rune) rune {
	if unicode.IsUpper(c) {
		return unicode.ToLower(c)
	}
	return unicode.ToUpper(c)
}

// another is a different character of the same alphabet.
func another(c rune) rune {
	if c == 'b' {
		return 'c'
	}
	return 'b'
}

func scriptDamage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 || damages[args[2]] == nil {
		ts.Fatalf("usage: damage NEW OLD HOW, not %q", args)
	}
	old := ts.ReadFile(args[1])
	damaged := damages[args[2]](old)
	if damaged == old {
		ts.Fatalf("%s changes nothing", args[2])
	}
	keep(ts, args[0], damaged)
}

// scriptState writes down everything but the policy's and the keys' revisions:
// whoever changes anything leaves an entry in the audit log.
func scriptState(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: state FILE")
	}
	var all strings.Builder
	for _, command := range []string{
		"list --all --all-owners -o jsonl", "admin user list -o jsonl", "admin connection list -o jsonl",
		"admin policy show -o json", "admin key list -o jsonl", "admin audit list -o jsonl",
	} {
		ts.Check(ts.Exec("tokenctl", strings.Fields(command)...))
		all.WriteString("$ tokenctl " + command + "\n" + ts.ReadFile("stdout"))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(all.String()), 0o600))
}

// pyJWT verifies the access tokens on stdin with the key set in the file, as a
// service would that knows nothing of us, and prints header and claims.
const pyJWT = `
import json, sys, jwt
keys = {k.key_id: k for k in jwt.PyJWKSet.from_dict(json.load(open(sys.argv[1]))).keys}
for line in sys.stdin:
    aud, issuer, token = line.split()
    header = jwt.get_unverified_header(token)
    key = keys[header["kid"]]
    claims = jwt.decode(token, key.key, algorithms=[header["alg"]], audience=aud, issuer=issuer,
                        options={"require": ["exp", "iat", "nbf", "aud", "iss", "sub", "jti", "client_id"]})
    try:
        jwt.decode(token[:-9] + ("A" if token[-9] != "A" else "B") + token[-8:], key.key, algorithms=[header["alg"]], audience=aud)
        sys.exit("a changed signature is taken")
    except jwt.InvalidSignatureError:
        pass
    print(json.dumps({"header": header, "claims": claims, "alg": key._jwk_data["alg"]}))
`

// Another library, in another language, verifies our access tokens with our
// key set, and finds in them what RFC 9068 and the product promise.
func TestAccessTokensInPython(t *testing.T) {
	t.Parallel()
	python := needs.Program(t, "/usr/bin/python3")
	if err := exec.CommandContext(t.Context(), python, "-c", "import jwt, cryptography").Run(); err != nil {
		needs.Missing(t, "python3-jwt and python3-cryptography are not installed")
	}
	home := t.TempDir()
	var tokens strings.Builder
	algorithms := []string{"EdDSA", "ES256", "RS256"}
	for _, alg := range algorithms {
		name := "in-" + strings.ToLower(alg)
		tokenctl(t, home, "", "admin", "connection", "add", name, "--algorithm", alg, "--entity-id", "https://api.example.org/"+alg)
		refresh := tokenctl(t, home, "", "generate", "refresh", name, "--connection", name, "--role", "reader", "--role", "writer")
		tokens.WriteString("https://api.example.org/" + alg + " http://127.0.0.1:8470 " + tokenctl(t, home, refresh, "exchange") + "\n")
	}
	jwks := filepath.Join(home, "jwks.json")
	if err := os.WriteFile(jwks, []byte(tokenctl(t, home, "", "admin", "key", "jwks")), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), python, "-c", pyJWT, jwks)
	c.Stdin = strings.NewReader(tokens.String())
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("PyJWT does not verify: %v\n%s", err, stderr.String())
	}
	seen := map[string]bool{}
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var got struct {
			Header struct{ Typ, Alg, Kid string }
			Claims struct {
				Iss, Sub, Jti, Scope string
				ClientID             string `json:"client_id"`
				Aud                  any
				Exp, Iat, Nbf        int64
				Roles                any `json:"urn:identify:rest-api:role"`
			}
			Alg string
		}
		if err := dec.Decode(&got); err != nil {
			t.Fatal(err)
		}
		alg := algorithms[len(seen)]
		want := got
		want.Header.Typ, want.Header.Alg, want.Alg = "at+jwt", alg, alg
		want.Claims.Sub, want.Claims.ClientID = "local/"+systemUserName(), "in-"+strings.ToLower(alg)
		want.Claims.Aud, want.Claims.Roles, want.Claims.Scope = "https://api.example.org/"+alg, []any{"reader", "writer"}, "reader writer"
		want.Claims.Exp, want.Claims.Nbf = got.Claims.Iat+3600, got.Claims.Iat
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", alg, diff)
		}
		if got.Header.Kid == "" || seen[got.Claims.Jti] {
			t.Errorf("%s: kid %q, jti %q", alg, got.Header.Kid, got.Claims.Jti)
		}
		seen[got.Claims.Jti] = true
	}
	if len(seen) != len(algorithms) {
		t.Errorf("PyJWT saw %d tokens, not %d", len(seen), len(algorithms))
	}
}

// tokenctl runs a command that must succeed, and returns its answer.
func tokenctl(t *testing.T, home, stdin string, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), "tokenctl", args...)
	c.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH")}
	c.Stdin = strings.NewReader(stdin)
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("tokenctl %q: %v\n%s", args, err, stderr.String())
	}
	return strings.TrimSuffix(string(out), "\n")
}

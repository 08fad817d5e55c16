package cmd_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// scriptSign makes a JWT as an identity provider would, whose certificate is that
// of certify NAME.
func scriptSign(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || len(args) > 4 {
		ts.Fatalf("usage: sign NAME JWT CLAIMS [HEADER]")
	}
	header, claims := map[string]any{"alg": "EdDSA", "typ": "JWT"}, map[string]any{"exp": 300.0}
	ts.Check(json.Unmarshal([]byte(args[2]), &claims))
	if len(args) == 4 {
		ts.Check(json.Unmarshal([]byte(args[3]), &header))
	}
	for _, name := range []string{"exp", "nbf", "iat"} {
		switch seconds, given := claims[name].(float64); {
		case given:
			claims[name] = time.Now().Unix() + int64(seconds)
		case claims[name] == nil:
			delete(claims, name)
		}
	}
	keep(ts, args[1], signed(keyOf(ts, args[0]), header, claims))
}

// keyOf is the key that certify has made.
func keyOf(ts *testscript.TestScript, name string) ed25519.PrivateKey {
	block, _ := pem.Decode([]byte(ts.ReadFile(name + ".key")))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	ts.Check(err)
	return key.(ed25519.PrivateKey)
}

func signed(key ed25519.PrivateKey, parts ...map[string]any) string {
	var encoded []string
	for _, part := range parts {
		text, _ := json.Marshal(part) // it came from JSON
		encoded = append(encoded, base64.RawURLEncoding.EncodeToString(text))
	}
	text := strings.Join(encoded, ".")
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(text)))
}

// scriptGitHub is the end of GitHub Actions that gives a job its identity token,
// for the audience that it is asked for, and the environment of such a job.
// At /elsewhere it sends whoever asks to another host; at /silent, /long and
// /empty it answers never, without end, and nothing.
func scriptGitHub(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: github NAME")
	}
	key, bearer := keyOf(ts, args[0]), "of the job"
	ts.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", bearer)
	ts.Setenv("GITHUB_OUTPUT", ts.MkAbs("outputs"))
	ts.Check(os.WriteFile(ts.MkAbs("outputs"), []byte("earlier=1\n"), 0o600))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		switch {
		case r.Header.Get("Authorization") != "bearer "+bearer || q.Get("api-version") != "2.0":
			http.Error(w, "no", http.StatusForbidden)
		case r.URL.Path == "/elsewhere":
			http.Redirect(w, r, "http://localhost:1/", http.StatusFound)
		case r.URL.Path == "/silent":
			<-r.Context().Done()
		case r.URL.Path == "/long":
			io.WriteString(w, `{"count":"`+strings.Repeat("x", 100_000)+`","value":"x"}`)
		case r.URL.Path == "/empty":
			io.WriteString(w, `{"count":0}`)
		default:
			jwt := signed(key, map[string]any{"alg": "EdDSA", "typ": "JWT"}, map[string]any{
				"iss": "https://" + args[0] + ".example.org", "sub": "repo:acme/shop:ref:refs/heads/main", "aud": q.Get("audience"), "exp": time.Now().Add(5 * time.Minute).Unix(),
			})
			json.NewEncoder(w).Encode(map[string]any{"count": 1, "value": jwt})
		}
	}))
	ts.Defer(s.Close)
	ts.Setenv("GITHUB", s.URL)
	ts.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", s.URL+"/token?api-version=2.0")
}

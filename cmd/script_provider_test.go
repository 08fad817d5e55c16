package cmd_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// issuerOf is what the provider of a script calls itself.
func issuerOf(name string) string { return "https://" + name + ".example.org" }

const scriptAudience = "https://tokens.example.org"

// scriptFederate adds a provider with the certificate NAME.crt, at the server
// where the tokens are, or at one that runs just for that.
func scriptFederate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: federate NAME SETTINGS")
	}
	certificate, _ := pem.Decode([]byte(ts.ReadFile(args[0] + ".crt")))
	settings := map[string]any{
		"name": args[0], "issuer": issuerOf(args[0]), "audiences": []string{scriptAudience}, "certificates": [][]byte{certificate.Bytes}, "unlinked": true,
	}
	ts.Check(json.Unmarshal([]byte(args[1]), &settings))
	body, err := json.Marshal(settings)
	ts.Check(err)
	url, client := ts.Getenv("TOKENCTL_SERVER"), http.DefaultClient
	if url == "" {
		var env []string
		for _, name := range []string{"HOME", "PATH", "TMPDIR", "DBUS_SESSION_BUS_ADDRESS"} {
			env = append(env, name+"="+ts.Getenv(name))
		}
		s, err := startServe(env, ts.MkAbs("."))
		ts.Check(err)
		defer s.stop()
		url, client = "http://local", &http.Client{Transport: &http.Transport{
			DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", s.socket) }, DisableKeepAlives: true,
		}}
	}
	response, err := client.Post(url+"/api/v1/providers", "application/json", bytes.NewReader(body))
	ts.Check(err)
	defer response.Body.Close()
	if text, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusCreated {
		ts.Fatalf("%s: %s", response.Status, text)
	}
}

// scriptSignJWT signs a JWT that is good but for what the claims say otherwise.
func scriptSignJWT(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: signjwt NEW NAME CLAIMS")
	}
	claims := map[string]any{}
	ts.Check(json.Unmarshal([]byte(args[2]), &claims))
	keep(ts, args[0], signJWT(args[1], keyOf(ts, args[1]), claims))
}

// keyOf is the key that certify has made.
func keyOf(ts *testscript.TestScript, name string) ed25519.PrivateKey {
	block, _ := pem.Decode([]byte(ts.ReadFile(name + ".key")))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	ts.Check(err)
	return key.(ed25519.PrivateKey)
}

func signJWT(name string, key ed25519.PrivateKey, changes map[string]any) string {
	claims := map[string]any{
		"iss": issuerOf(name), "aud": scriptAudience, "sub": "alice", "iat": time.Now().Unix(), "exp": time.Now().Add(5 * time.Minute).Unix(),
	}
	maps.Copy(claims, changes)
	payload, _ := json.Marshal(claims) // it came from JSON
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"alg":"EdDSA","typ":"JWT"}`)) + "." + encode(payload)
	return text + "." + encode(ed25519.Sign(key, []byte(text)))
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
			jwt := signJWT(args[0], key, map[string]any{"sub": "repo:acme/shop:ref:refs/heads/main", "aud": q.Get("audience")})
			json.NewEncoder(w).Encode(map[string]any{"count": 1, "value": jwt})
		}
	}))
	ts.Defer(s.Close)
	ts.Setenv("GITHUB", s.URL)
	ts.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", s.URL+"/token?api-version=2.0")
}

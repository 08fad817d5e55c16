// Package oidc starts the OpenID provider of npm, oidc-provider, for tests: on
// a free port of the loopback, with nothing left of it afterwards.
package oidc

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/testdata/needs"
)

// What every server knows.
const (
	Audience = "https://tokens.example.org" // its access tokens for this one are JWTs
	Opaque   = "https://opaque.example.org" // and for this one are not
	Public   = "cli"                        // a client without a secret, for people
	Machine  = "svc"                        // a client for itself, that is the sub of its tokens
)

// Options say what a server is to be like.
type Options struct {
	Lifetime time.Duration // of access tokens; 10 minutes unless given
}

// Server is a running provider. Its JWTs have groups ["ops"].
type Server struct {
	Issuer string

	t      testing.TB
	mu     sync.Mutex
	stdin  io.WriteCloser
	stdout *bufio.Scanner
	kill   func()
}

// Start starts a server that ends with the test.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	program := needs.Program(t, "node")
	_, here, _, _ := runtime.Caller(0)
	folder := filepath.Dir(here)
	if _, err := os.Stat(filepath.Join(folder, "node_modules", "oidc-provider")); err != nil {
		needs.Missing(t, "npm ci has not been run in testdata/oidc")
	}
	if o.Lifetime == 0 {
		o.Lifetime = 10 * time.Minute
	}
	command := exec.Command(program, "op.mjs")
	command.Dir = folder
	command.Env = append(os.Environ(), fmt.Sprint("TTL=", int(o.Lifetime.Seconds())), "AUDIENCE="+Audience)
	s := &Server{t: t}
	var err error
	s.stdin, err = command.StdinPipe() // its end is the end of the server, also when the test dies
	must(t, err)
	stdout, err := command.StdoutPipe()
	must(t, err)
	s.stdout = bufio.NewScanner(stdout)
	must(t, command.Start())
	s.kill = sync.OnceFunc(func() { command.Process.Kill(); command.Wait() })
	t.Cleanup(s.kill)
	s.Issuer = s.read("READY ")
	return s
}

// Stop ends the server before the test does.
func (s *Server) Stop() { s.kill() }

// Rotate gives it new keys of other names, and has it forget the old ones.
func (s *Server) Rotate() { s.tell("rotate", "ROTATED") }

// Sign has it sign access tokens with an algorithm; until then it is RS256.
func (s *Server) Sign(algorithm string) { s.tell("sign "+algorithm, "SIGNS") }

// Asked is how often a path was asked for.
func (s *Server) Asked(path string) int {
	counts := map[string]int{}
	must(s.t, json.Unmarshal([]byte(s.tell("counts", "COUNTS ")), &counts))
	return counts[path]
}

// AccessToken is an access token for [Machine].
func (s *Server) AccessToken(resource string) string {
	s.t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "resource": {resource}, "scope": {"groups"}}
	request, err := http.NewRequest("POST", s.Issuer+"/token", strings.NewReader(form.Encode()))
	must(s.t, err)
	request.SetBasicAuth(Machine, Machine+"-secret")
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(request)
	must(s.t, err)
	defer response.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
		Error string `json:"error_description"`
	}
	must(s.t, json.NewDecoder(response.Body).Decode(&answer))
	if answer.Token == "" {
		s.t.Fatalf("no access token: %s", answer.Error)
	}
	return answer.Token
}

// tell says a line, and returns what is on the line of the answer after a
// word.
func (s *Server) tell(line, word string) string {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := fmt.Fprintln(s.stdin, line)
	must(s.t, err)
	return s.read(word)
}

func (s *Server) read(word string) string {
	for s.stdout.Scan() {
		if rest, ok := strings.CutPrefix(s.stdout.Text(), word); ok {
			return rest
		}
	}
	s.t.Fatalf("the provider ended without saying %s: %v", word, s.stdout.Err())
	return ""
}

var (
	action = regexp.MustCompile(`action="([^"]*)"`)
	hidden = regexp.MustCompile(`name="(xsrf|user_code|prompt|confirm)" value="([^"]*)"`)
)

// Person is a browser without a screen, in the hands of somebody of a name:
// it opens a page, and submits every form until none comes. The last page is
// returned.
func Person(name, page string) (string, error) {
	browser, err := newBrowser()
	if err != nil {
		return "", err
	}
	response, err := browser.Get(page)
	for range 10 {
		if err != nil {
			return "", err
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		form := action.FindSubmatch(body)
		if err != nil || form == nil {
			return string(body), err
		}
		if response, err = submit(browser, response.Request.URL, form[1], body, url.Values{"login": {name}, "password": {"x"}}); err != nil {
			return "", err
		}
	}
	return "", errors.New("ever more forms")
}

// Refuse is a browser in the hands of somebody who opens the page of a log-in by
// device that is not theirs, and says no.
func Refuse(page string) error {
	browser, err := newBrowser()
	if err != nil {
		return err
	}
	response, err := browser.Get(page)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	form := action.FindSubmatch(body)
	if err != nil || form == nil {
		return errors.Join(err, errors.New("there is nothing to refuse"))
	}
	if response, err = submit(browser, response.Request.URL, form[1], body, url.Values{"abort": {"yes"}}); err == nil {
		response.Body.Close()
	}
	return err
}

func newBrowser() (*http.Client, error) {
	jar, err := cookiejar.New(nil)
	return &http.Client{Jar: jar}, err
}

// submit submits the form of a page, with what is hidden in it.
func submit(browser *http.Client, page *url.URL, action, body []byte, fields url.Values) (*http.Response, error) {
	for _, h := range hidden.FindAllSubmatch(body, -1) {
		fields.Set(string(h[1]), string(h[2]))
	}
	target, err := page.Parse(string(action))
	if err != nil {
		return nil, err
	}
	return browser.PostForm(target.String(), fields)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

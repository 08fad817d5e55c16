package httpapi_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/httpapi"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// failing is an authority whose policy cannot be read.
type failing struct {
	*authority.Local
	err error
}

type failingService struct {
	everything
	err error
}

func (f failing) As(c authority.Caller) authority.Service {
	return failingService{f.Local.As(c), f.err}
}

func (f failing) Verify(context.Context, authority.Presented) (token.Identity, error) {
	return token.Identity{}, f.err
}

func (f failingService) Policy(context.Context) (token.Policy, error) { return token.Policy{}, f.err }

// An error arrives as it was: its kind, its message and its hint.
func TestErrorsArrive(t *testing.T) {
	for _, p := range httpapi.Problems() {
		err := token.Errorf(p.Kind, "the message of %s", p.Code).WithHint("the hint")
		srv := newServer(t, failing{newLocal(time.Now), err}, &root)
		_, got := newClient(t, srv, httpapi.ClientOptions{}).Policy(background)
		var told *token.Error
		if !errors.As(got, &told) || told.Message != err.Message || told.Hint != err.Hint && p.Status != 401 {
			t.Errorf("%s arrives as %v", p.Code, got)
		}
		is := 0
		for _, kind := range []error{token.ErrRefused, token.ErrUsage, token.ErrNotFound, token.ErrConflict, token.ErrCannotTell, token.ErrUnsafe} {
			if errors.Is(got, kind) {
				is++
			}
		}
		own := p.Kind
		if p.Code == "cannot_tell" {
			own = token.ErrCannotTell
		}
		if p.Status == 401 {
			own = token.ErrRefused
		}
		if !errors.Is(got, own) || is > 1 {
			t.Errorf("%s arrives as %v, of %d kinds", p.Code, got, is)
		}
	}
}

// A fault of the server and what is wrong with it are for its log.
func TestErrorsThatAreTold(t *testing.T) {
	var written bytes.Buffer
	for _, c := range []struct {
		peer *authority.Caller
		err  error
		told bool
	}{
		{&root, errors.New("the inside of /var/lib"), false},
		{&root, token.Errorf(token.ErrCannotTell, "the inside of /var/lib"), true},
		{nil, token.Errorf(token.ErrCannotTell, "the inside of /var/lib"), false},
	} {
		written.Reset()
		srv := httptest.NewUnstartedServer(httpapi.NewHandler(httpapi.Options{Rules: failing{newLocal(time.Now), c.err}, Log: slog.New(slog.NewJSONHandler(&written, nil))}))
		if c.peer != nil {
			withPeer(srv, *c.peer)
		}
		srv.Start()
		client := newClient(t, srv, httpapi.ClientOptions{})
		_, err := client.Policy(background)
		if c.peer == nil {
			_, err = client.Verify(background, authority.Presented{})
		}
		srv.Close() // after which the log is written
		if err == nil || strings.Contains(err.Error(), "inside") != c.told {
			t.Errorf("%v is told as %v", c.err, err)
		}
		if !strings.Contains(written.String(), "the inside of /var/lib") {
			t.Errorf("%v is not in the log: %s", c.err, written.String())
		}
	}
}

func TestClientURLs(t *testing.T) {
	for url, ok := range map[string]bool{
		"https://tokens.example.org": true, "https://tokens.example.org:8470/prefix/": true, "http://127.0.0.1:8470": true, "http://[::1]:1": true, "http://localhost": true,
		"http://tokens.example.org": false, "http://127.0.0.1.example.org": false, "http://192.0.2.1": false, "": false, "tokens.example.org": false, "ftp://x": false,
		"https://u:tkp_x@tokens.example.org": false, "https://x/?a=b": false, "https://x/#a": false, "https://": false, "%": false,
	} {
		_, err := httpapi.NewClient(httpapi.ClientOptions{URL: url})
		if (err == nil) != ok || err != nil && (!errors.Is(err, token.ErrUsage) || strings.Contains(err.Error(), "tkp_x")) {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := httpapi.NewClient(httpapi.ClientOptions{URL: "http://192.0.2.1", Plain: true}); err != nil {
		t.Error(err)
	}
}

// A Client is recognised by its credential, below a prefix too, and over TLS.
func TestClientCredentials(t *testing.T) {
	l := newLocal(time.Now)
	i, err := l.As(root).Generate(background, token.Spec{Kind: token.User})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.StripPrefix("/prefix", httpapi.NewHandler(httpapi.Options{Rules: l})))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	for _, c := range []struct {
		text string
		kind error
	}{
		{i.Secret.Reveal(), nil}, {i.Token.ID.String() + ":" + i.Secret.Reveal(), nil},
		{"nonsense", token.ErrRefused}, {"", token.ErrRefused}, {i.Secret.Reveal() + "\n", token.ErrUsage}, {"a b", token.ErrUsage},
	} {
		client := newClient(t, nil, httpapi.ClientOptions{
			URL: srv.URL + "/prefix/", TLS: srv.Client().Transport.(*http.Transport).TLSClientConfig,
			Credential: func(context.Context) (secret.Secret, error) { return secret.FromText(c.text), nil },
		})
		id, err := client.WhoAmI(background)
		if c.kind == nil && (err != nil || id.Owner != local("root")) || c.kind != nil && !errors.Is(err, c.kind) {
			t.Errorf("%d characters: %+v, %v", len(c.text), id, err)
		}
		var told *token.Error
		if c.kind == token.ErrRefused && (!errors.As(err, &told) || !strings.Contains(told.Hint, "TOKENCTL_TOKEN")) {
			t.Errorf("the way out is missing: %#v", err)
		}
	}
	plain := newClient(t, nil, httpapi.ClientOptions{URL: srv.URL})
	if _, err := plain.WhoAmI(background); !errors.Is(err, token.ErrCannotTell) {
		t.Errorf("a certificate that nobody knows: %v", err)
	}
}

// A credential is sent to nobody but the server, and only where it is needed.
func TestWhereCredentialsGo(t *testing.T) {
	var other, asked []string
	away := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { other = append(other, r.URL.Path) }))
	defer away.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			asked = append(asked, r.URL.Path)
		}
		http.Redirect(w, r, away.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer srv.Close()
	c := newClient(t, srv, httpapi.ClientOptions{Credential: func(context.Context) (secret.Secret, error) { return secret.FromText("x"), nil }})
	for what, ask := range map[string]func() error{
		"WhoAmI":   func() error { _, err := c.WhoAmI(background); return err },
		"Verify":   func() error { _, err := c.Verify(background, authority.Presented{}); return err },
		"Exchange": func() error { _, err := c.Exchange(background, authority.Exchange{}); return err },
		"JWKS":     func() error { _, err := c.JWKS(background); return err },
	} {
		if err := ask(); !errors.Is(err, token.ErrCannotTell) || !strings.Contains(err.Error(), "307") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if len(other) > 0 || len(asked) != 1 || asked[0] != "/api/v1/whoami" {
		t.Errorf("redirected were %q, with a credential came %q", other, asked)
	}
}

// endless is an answer without an end.
type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}

func TestAnswersAreBounded(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.Copy(w, endless{})
	}))
	defer srv.Close()
	if _, err := newClient(t, srv, httpapi.ClientOptions{}).WhoAmI(background); !errors.Is(err, token.ErrCannotTell) || !strings.Contains(err.Error(), "16777216") {
		t.Errorf("the error is %v", err)
	}
}

// A server that gives a list its own beginning again is not asked for ever.
func TestListWithoutEnd(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"tokens":[],"next":"x"}`)
	}))
	defer srv.Close()
	for _, err := range newClient(t, srv, httpapi.ClientOptions{}).List(background, token.Selector{}) {
		if !errors.Is(err, token.ErrCannotTell) {
			t.Errorf("the error is %v", err)
		}
	}
}

// Over the socket no URL is needed.
func TestClientOverSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	socket, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(httpapi.NewHandler(httpapi.Options{Rules: newLocal(time.Now)}))
	srv.Listener.Close()
	srv.Listener = socket
	withPeer(srv, root)
	srv.Start()
	c := newClient(t, nil, httpapi.ClientOptions{
		Where: "tokenctl (pid 47)",
		Dial:  func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "unix", path) },
	})
	if id, err := c.WhoAmI(background); err != nil || id.Owner != local("root") {
		t.Errorf("%+v, %v", id, err)
	}
	srv.Close()
	if _, err := c.WhoAmI(background); !errors.Is(err, token.ErrCannotTell) || !strings.Contains(err.Error(), "tokenctl (pid 47)") {
		t.Errorf("the error is %v", err)
	}
}

// More tokens than one request takes go in several.
func TestManyTokens(t *testing.T) {
	a := newAPI(t)
	var refs []token.Ref
	for range 2300 {
		i, err := a.As(root).Generate(background, token.Spec{Kind: token.Refresh})
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, i.Token.Ref())
	}
	c := newClient(t, a.srv, httpapi.ClientOptions{})
	if n := len(collect(t, c.List(background, token.Selector{}))); n != len(refs) {
		t.Errorf("%d tokens are listed", n)
	}
	if err := c.Revoke(background, refs, "all"); err != nil {
		t.Fatal(err)
	}
	if n := len(collect(t, c.List(background, token.Selector{Status: token.Revoked}))); n != len(refs) {
		t.Errorf("%d tokens are revoked", n)
	}
	err := c.Delete(background, refs)
	if !errors.Is(err, token.ErrConflict) {
		t.Errorf("deleting tombstones: %v", err)
	}
}

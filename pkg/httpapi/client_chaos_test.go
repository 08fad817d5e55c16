package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/httpapi"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// A fault is what a bad line does to one request and its answer.
type fault struct {
	name string
	at   int // bytes of the answer that come through; below 0: of the request, to the server
	do   func(f fault, client net.Conn, request []byte, server string)
}

// line is a TCP proxy that does the faults that it is given, one a connection,
// and then none.
type line struct {
	net.Listener
	server string
	faults chan fault
	used   atomic.Int64
}

func newLine(t *testing.T, server string) *line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &line{Listener: l, server: server, faults: make(chan fault, 16)}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return p
}

func (p *line) serve(c net.Conn) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second)) // so that no test hangs
	request := readRequest(c)
	select {
	case f := <-p.faults:
		p.used.Add(1)
		f.do(f, c, request, p.server)
	default:
		c.Write(forward(p.server, request))
	}
}

// readRequest is one request as it came.
func readRequest(c net.Conn) []byte {
	var raw bytes.Buffer
	req, err := http.ReadRequest(bufio.NewReader(io.TeeReader(c, &raw)))
	if err == nil {
		io.Copy(io.Discard, req.Body)
	}
	return raw.Bytes()
}

// forward sends a request and returns the whole answer.
func forward(server string, request []byte) []byte {
	s, err := net.Dial("tcp", server)
	if err != nil {
		return nil
	}
	defer s.Close()
	s.SetDeadline(time.Now().Add(30 * time.Second))
	s.Write(request)
	var raw bytes.Buffer
	if resp, err := http.ReadResponse(bufio.NewReader(io.TeeReader(s, &raw)), nil); err == nil {
		io.Copy(io.Discard, resp.Body)
	}
	return raw.Bytes()
}

// cut breaks the line, reset or well closed.
func cut(f fault, c net.Conn, request []byte, server string) {
	if f.at < 0 {
		s, err := net.Dial("tcp", server)
		if err != nil {
			return
		}
		s.Write(request[:max(0, min(-f.at, len(request)-1))])
		s.Close()
	} else {
		text := forward(server, request)
		c.Write(text[:max(0, min(f.at, len(text)-1))])
	}
	if f.at%2 == 0 {
		c.(*net.TCPConn).SetLinger(0)
	}
}

// stall goes silent, and the server has the request or not.
func stall(f fault, c net.Conn, request []byte, server string) {
	if f.at >= 0 {
		text := forward(server, request)
		c.Write(text[:max(0, min(f.at, len(text)-1))])
	}
	io.Copy(io.Discard, c) // until the client gives up
}

// repeat sends the request twice and answers with the second answer.
func repeat(f fault, c net.Conn, request []byte, server string) {
	forward(server, request)
	text := forward(server, request)
	c.Write(text[:max(0, len(text)-f.at)])
}

// shout answers what no server of ours says.
func shout(text string) func(fault, net.Conn, []byte, string) {
	return func(f fault, c net.Conn, request []byte, server string) {
		if f.at > 0 {
			forward(server, request)
		}
		io.WriteString(c, text)
	}
}

var gateway = "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 12\r\n\r\n<h1>502</h1>"

func faults() (all []fault) {
	for _, at := range []int{-1, -100, -300, 0, 1, 12, 60, 199, 300, 450, 900} {
		all = append(all, fault{"cut", at, cut})
	}
	for _, at := range []int{-1, 0, 400} {
		all = append(all, fault{"stall", at, stall})
	}
	for _, at := range []int{0, 1, 100} {
		all = append(all, fault{"repeat", at, repeat})
	}
	for _, at := range []int{0, 1} {
		all = append(all,
			fault{"bad gateway", at, shout(gateway)},
			fault{"half a JSON without its length", at, shout("HTTP/1.0 201 Created\r\nContent-Type: application/json\r\n\r\n{\"id\":\"0123456789abcdef\",\"kind\":")},
			fault{"another JSON", at, shout("HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")},
			fault{"noise", at, shout("SSH-2.0-OpenSSH_9.2\r\n")})
	}
	return all
}

// newLined is a client behind a bad line.
func newLined(t *testing.T, timeout time.Duration) (*api, *line, *httpapi.Client) {
	a := newAPI(t)
	p := newLine(t, a.srv.Listener.Addr().String())
	return a, p, newClient(t, nil, httpapi.ClientOptions{URL: "http://" + p.Addr().String(), Timeout: timeout})
}

// One fault is mended: the token is made once, and its secret is good.
func TestOneFault(t *testing.T) {
	for _, f := range faults() {
		t.Run(fmt.Sprintf("%s at %d", f.name, f.at), func(t *testing.T) {
			t.Parallel()
			a, p, c := newLined(t, 3*time.Second) // which only a stall takes
			p.faults <- f
			i, err := c.Generate(background, token.Spec{Kind: token.User})
			if err != nil {
				t.Fatal(err)
			}
			if p.used.Load() != 1 {
				t.Error("the fault did not happen")
			}
			a.hasOne(i)

			p.faults <- f
			again, err := c.Rotate(background, i.Token.Ref(), authority.Rotation{})
			if err != nil {
				t.Fatal(err)
			}
			a.hasOne(again)
			if again.Token.Revision != 2 {
				t.Errorf("it was rotated to revision %d", again.Token.Revision)
			}
		})
	}
}

// hasOne sees to it that there is one live token, whose secret is good.
func (a *api) hasOne(i authority.Issued) {
	a.Helper()
	live := collect(a.T, a.As(root).List(background, token.Selector{}))
	if len(live) != 1 {
		a.Errorf("there are %d live tokens", len(live))
	}
	if id, err := a.Verify(background, authority.Presented{Credential: i.Secret}); err != nil || id.ID != i.Token.ID {
		a.Errorf("the secret is %+v, %v", id, err)
	}
}

// Faults without end are told, and nothing was made twice.
func TestFaultsWithoutEnd(t *testing.T) {
	for _, f := range faults() {
		if f.name == "repeat" && f.at == 0 {
			continue // which does no harm
		}
		t.Run(fmt.Sprintf("%s at %d", f.name, f.at), func(t *testing.T) {
			t.Parallel()
			const tries = 3
			timeout := 10 * time.Second
			if f.name == "stall" {
				timeout = time.Second
			}
			a, p, c := newLined(t, timeout)
			unknown := func(what string, err error) {
				t.Helper()
				if !errors.Is(err, authority.ErrOutcomeUnknown) {
					t.Errorf("%s: %v", what, err)
				}
			}
			for range tries {
				p.faults <- f
			}
			_, err := c.Generate(background, token.Spec{Kind: token.User})
			unknown("Generate", err)
			if n := len(collect(t, a.As(root).List(background, token.Selector{Ended: true}))); n > 1 {
				t.Errorf("there are %d tokens", n)
			}
			if n := p.used.Load(); n != tries {
				t.Errorf("it was tried %d times", n)
			}
			p.faults <- f
			_, err = c.SetPolicy(background, map[string]string{"retention": "100d"})
			if f.name != "repeat" || err != nil {
				unknown("SetPolicy", err)
			}
			p.faults <- f
			if _, err := c.WhoAmI(background); !errors.Is(err, token.ErrCannotTell) || errors.Is(err, authority.ErrOutcomeUnknown) {
				t.Errorf("WhoAmI: %v", err)
			}
			p.faults <- f
			_, err = c.Verify(background, authority.Presented{})
			if !errors.Is(err, token.ErrCannotTell) || errors.Is(err, token.ErrRefused) {
				t.Errorf("Verify: %v", err)
			}
		})
	}
}

// Where nobody listens, nothing has happened.
func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	c := newClient(t, nil, httpapi.ClientOptions{URL: "http://" + l.Addr().String()})
	_, err = c.Generate(background, token.Spec{Kind: token.User})
	if !errors.Is(err, token.ErrCannotTell) || errors.Is(err, authority.ErrOutcomeUnknown) {
		t.Errorf("the error is %v", err)
	}
}

// Whoever gives up is not kept waiting.
func TestGivingUp(t *testing.T) {
	_, p, c := newLined(t, 10*time.Second)
	p.faults <- fault{"stall", 0, stall}
	ctx, cancel := context.WithTimeout(background, 20*time.Millisecond)
	defer cancel()
	_, err := c.Generate(ctx, token.Spec{Kind: token.User})
	if !errors.Is(err, authority.ErrOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
	if n := p.used.Load(); n != 1 {
		t.Errorf("it was tried %d times", n)
	}
}

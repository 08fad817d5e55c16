//go:build linux

package cmd_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// hand is a connection whose requests are written by hand.
type hand struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func dial(t testing.TB, at string) *hand {
	t.Helper()
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return &hand{t, c, bufio.NewReader(c)}
}

func (h *hand) say(format string, args ...any) *hand {
	fmt.Fprintf(h, format, args...) // one that is hung up on while it speaks may still read an answer
	return h
}

// status is that of the next answer, which is read whole; 0: hung up.
func (h *hand) status() int {
	h.t.Helper()
	resp, err := http.ReadResponse(h.r, nil)
	if err != nil {
		if e, ok := err.(net.Error); ok && e.Timeout() {
			h.t.Fatal("there is no answer, and no end")
		}
		return 0
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// hungUp says that the server has ended the connection, with or without a word.
func (h *hand) hungUp() {
	h.t.Helper()
	if _, err := io.Copy(io.Discard, h.r); err != nil {
		if e, ok := err.(net.Error); ok && e.Timeout() {
			h.t.Fatal("the connection is not ended")
		}
	}
}

// pause is longer than the short limits below and far shorter than others.
const (
	short = "200ms"
	pause = 400 * time.Millisecond
)

// The limits of time: what takes longer is hung up on; with a longer limit the
// same is answered.
func TestServeLimitsOfTime(t *testing.T) {
	t.Parallel()
	const good = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
	const form = "POST /oauth2/revoke HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 29\r\n\r\n"
	for flag, c := range map[string]struct{ first, then string }{
		"--read-header-timeout": {good[:20], good[20:]},
		"--read-timeout":        {form + "token=a", "&client_id=default&b=c"},
		"--idle-timeout":        {good, good},
	} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			m, _ := seeded(t)
			s := m.serve(flag, short)
			h := dial(t, s.main).say("%s", c.first)
			h.hungUp()
			s.stop()

			s = m.serve() // 5 s, 10 s, 60 s
			h = dial(t, s.main).say("%s", c.first)
			if c.first == c.then {
				if got := h.status(); got != 200 {
					t.Errorf("first answer %d", got)
				}
			}
			time.Sleep(pause)
			if got := h.say("%s", c.then).status(); got != 200 {
				t.Errorf("answer %d", got)
			}
			h.Close()
			s.stop()
		})
	}
}

// Who does not read answers does not keep a connection.
func TestServeLimitOfWriting(t *testing.T) {
	t.Parallel()
	m, _ := seeded(t)
	const many = 1000
	request := "GET /api/openapi.yaml HTTP/1.1\r\nHost: x\r\n\r\n"
	flood := func(s *running) *hand {
		h := dial(t, s.main)
		go func() {
			for range many {
				if _, err := io.WriteString(h, request); err != nil {
					return
				}
			}
		}()
		return h
	}
	s := m.serve("--write-timeout", short, "--metrics-listen", "127.0.0.1:0")
	count := func() string {
		_, _, text := ask(t, http.DefaultClient, "GET", "http://"+s.metrics+"/metrics", "")
		_, rest, _ := strings.Cut(text, `tokenctl_http_connections{listener="main"} `)
		n, _, _ := strings.Cut(rest, "\n")
		return n
	}
	flood(s)
	eventually(t, "it is answered", func() bool { return count() == "1" })
	eventually(t, "it is hung up on", func() bool { return count() == "0" })
	s.stop()

	s = m.serve()
	h := flood(s)
	for i := range many {
		if got := h.status(); got != 200 {
			t.Fatalf("answer %d is %d", i, got)
		}
	}
	h.Close()
	s.stop()
}

// A TLS handshake has a time of its own.
func TestServeLimitOfHandshake(t *testing.T) {
	t.Parallel()
	m, _ := seeded(t)
	s, _, _ := tlsServed(t, m, "--tls-handshake-timeout", short)
	dial(t, s.main).hungUp()
	dial(t, s.main).say("\x16\x03\x01").hungUp()
	s.stop()

	s, _, _ = tlsServed(t, m, "--read-header-timeout", short) // not what a handshake is held to
	h := dial(t, s.main)
	time.Sleep(pause)
	c := tls.Client(h.Conn, &tls.Config{InsecureSkipVerify: true})
	h = &hand{t, c, bufio.NewReader(c)}
	if got := h.say("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").status(); got != 200 {
		t.Errorf("answer %d", got)
	}
	h.Close()
	s.stop()
}

// The limits of size, to the byte: what fits is answered, one more is not.
func TestServeLimitsOfSize(t *testing.T) {
	t.Parallel()
	m, seed := seeded(t)
	s := m.serve()
	post := func(path, mediaType, body string) int {
		return dial(t, s.main).say("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", path, mediaType, len(body), body).status()
	}
	header := func(size int) int {
		begin := "GET /livez HTTP/1.1\r\nHost: x\r\n"
		// The request line counts without its version and blanks.
		fill := size - len("GET") - len("/livez") - len("x") - len("X-Fill: \r\n")
		return dial(t, s.main).say("%sX-Fill: %s\r\n\r\n", begin, strings.Repeat("a", fill)).status()
	}
	fields := func(n int) int {
		return post("/oauth2/revoke", "application/x-www-form-urlencoded", "token=a&client_id=default"+numbered(n-2))
	}
	body := func(n int) int {
		text := `{"credential":"a"}`
		return post("/api/v1/tokens:verify", "application/json", text+strings.Repeat(" ", n-len(text)))
	}
	for _, c := range []struct {
		what string
		got  int
		want int
	}{
		{"header of 16384 bytes", header(16384), 200},
		{"header of 16385 bytes", header(16385), 431},
		{"header of 100000 bytes", header(100_000), 431},
		{"64 fields", fields(64), 200},
		{"65 fields", fields(65), 400},
		{"a body of 65536 bytes", body(65536), 200},
		{"a body of 65537 bytes", body(65537), 413},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, not %d", c.what, c.got, c.want)
		}
	}
	// One object is depth 1. Both are wrong for other reasons: the reason counts.
	for n, want := range map[int]bool{32: false, 33: true} {
		text := `{"credential":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `}`
		resp, err := http.Post("http://"+s.main+"/api/v1/tokens:verify", "application/json", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		told, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if strings.Contains(string(told), "deep") != want {
			t.Errorf("depth %d: %s", n, told)
		}
	}
	// Where a thing ends is never guessed, and what is in two places is nowhere.
	for request, want := range map[string]int{
		"POST /oauth2/revoke HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n":                                          411,
		"POST /verify HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n":                            411,
		"GET /verify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n":                                   400,
		"GET /api/v1/whoami HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n":                            400,
		"TRACE /verify HTTP/1.1\r\nHost: x\r\n\r\n":                                                                                       405,
		"TRACE /livez HTTP/1.1\r\nHost: x\r\n\r\n":                                                                                        405,
		"BREW /oauth2/token HTTP/1.1\r\nHost: x\r\n\r\n":                                                                                  405,
		"GET /livez HTTP/1.1\r\n\r\n":                                                                                                     400,
		"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n":                                400,
		"POST /oauth2/revoke HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nabcde":                                                      400,
		"POST /oauth2/revoke?token=x HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 0\r\n\r\n": 400,
	} {
		if got := dial(t, s.main).say("%s", request).status(); got != want {
			t.Errorf("%q: %d, not %d", request, got, want)
		}
	}
	s.stop()

	size := len(base64.StdEncoding.EncodeToString([]byte(seed.pair)))
	for limit, want := range map[int]int{size: 200, size - 1: 401} {
		s := m.serve("--max-bearer", itoa(limit))
		if status, _, _ := s.ask("GET", "/verify", seed.pair); status != want {
			t.Errorf("a credential of %d bytes where %d are allowed: %d", size, limit, status)
		}
		s.stop()
	}
}

// numbered are n fields of a form.
func numbered(n int) (text string) {
	for i := range n {
		text += fmt.Sprintf("&f%d=", i)
	}
	return text
}

// Only so many connections are served at once; the next one waits its turn.
func TestServeLimitOfConnections(t *testing.T) {
	t.Parallel()
	m, _ := seeded(t)
	s := m.serve("--max-connections", "3")
	const request = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
	var open []*hand
	for range 3 {
		h := dial(t, s.main)
		if got := h.say(request).status(); got != 200 {
			t.Errorf("answer %d", got)
		}
		open = append(open, h)
	}
	fourth := dial(t, s.main).say(request)
	fourth.SetReadDeadline(time.Now().Add(pause))
	if _, err := fourth.r.Peek(1); err == nil {
		t.Error("a fourth connection is served")
	}
	// Those that are open go on, and the local socket is not theirs.
	if got := open[0].say(request).status(); got != 200 {
		t.Errorf("answer %d", got)
	}
	m.must("", "list")
	open[0].Close()
	fourth.SetReadDeadline(time.Now().Add(patience))
	if got := fourth.status(); got != 200 {
		t.Errorf("answer %d for the fourth", got)
	}
	for _, h := range append(open, fourth) {
		h.Close()
	}
	s.stop()
}

// Over HTTP/2 a header has the same limit.
func TestServeLimitOfHTTP2Header(t *testing.T) {
	t.Parallel()
	m, _ := seeded(t)
	s, _, _ := tlsServed(t, m)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}}
	for size, fits := range map[int]bool{16000: true, 16400: false, 17000: false, 100_000: false} {
		r, err := http.NewRequest("GET", "https://"+s.main+"/livez", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Fill", strings.Repeat("a", size))
		resp, err := client.Do(r) // which keeps to the limit that it is told
		if err == nil {
			resp.Body.Close()
		}
		if ok := err == nil && resp.StatusCode == 200 && resp.ProtoMajor == 2; ok != fits {
			t.Errorf("a header of %d bytes: %v, %v", size, resp, err)
		}
	}
	client.CloseIdleConnections()
	s.stop()
}

// HTTP/2 has as many streams as are allowed.
func TestServeLimitOfStreams(t *testing.T) {
	t.Parallel()
	m, _ := seeded(t)
	s, _, _ := tlsServed(t, m, "--max-streams", "2", "--read-timeout", "60s")
	c, err := tls.Dial("tcp", s.main, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, http2.ClientPreface)
	framer := http2.NewFramer(c, c)
	framer.WriteSettings()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	post := func(stream uint32) {
		block.Reset()
		for _, f := range [][2]string{{":method", "POST"}, {":scheme", "https"}, {":authority", "x"}, {":path", "/oauth2/revoke"}, {"content-type", "application/x-www-form-urlencoded"}, {"content-length", "10"}} {
			encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
		framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true}) // a body is to come
	}
	told := false
	for stream := uint32(1); stream <= 5; stream += 2 {
		post(stream)
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if n, ok := f.Value(http2.SettingMaxConcurrentStreams); ok {
				told = n == 2
			}
		case *http2.RSTStreamFrame:
			if f.StreamID != 5 || f.ErrCode != http2.ErrCodeRefusedStream && f.ErrCode != http2.ErrCodeProtocol {
				t.Errorf("stream %d ends with %v", f.StreamID, f.ErrCode)
			}
			if !told {
				t.Error("the limit was not told")
			}
			c.Close()
			s.stop()
			return
		case *http2.GoAwayFrame:
			t.Fatalf("the connection is ended: %v %s", f.ErrCode, f.DebugData())
		}
	}
}

// Whose address counts: that of the connection, unless a trusted proxy says
// another.
func TestServeTrustedProxies(t *testing.T) {
	t.Parallel()
	m, _ := seeded(t)
	for _, c := range []struct{ trusted, want string }{{"", "127.0.0.1"}, {"192.0.2.0/24", "127.0.0.1"}, {"192.0.2.0/24,127.0.0.0/8", "203.0.113.9"}} {
		args := []string{"--log-level", "debug"}
		if c.trusted != "" {
			args = append(args, "--trusted-proxy", c.trusted)
		}
		s := m.serve(args...)
		if got := dial(t, s.main).say("GET /nowhere HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 198.51.100.1, 203.0.113.9, 192.0.2.5\r\nConnection: close\r\n\r\n").status(); got != 404 {
			t.Errorf("answer %d", got)
		}
		s.stop()
		if r := s.log.find(t, "status", "404"); r == nil || r["from"] != c.want {
			t.Errorf("trusted %q: from %v, not %s", c.trusted, r, c.want)
		}
	}
}

// Go's net/http.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

const evil = "GET /evil HTTP/1.1\r\nHost: evil\r\n\r\n"

type request struct {
	ID, Method, Path string
	Headers          [][2]string
	BodyPrefix       string `json:"body_prefix"`
	BodyBytes        int    `json:"body_bytes"`
	Chunked          bool
}

type plan struct {
	Host     string
	Port     int
	Fresh    bool
	Hold     bool
	Requests []request
}

// counted counts what goes through a connection, and keeps the beginning of what comes.
type counted struct {
	net.Conn
	lock           sync.Mutex
	sent, received int
	raw            []byte
}

func (c *counted) Read(data []byte) (int, error) {
	n, err := c.Conn.Read(data)
	c.lock.Lock()
	defer c.lock.Unlock()
	c.received += n
	if len(c.raw) < 65536 {
		c.raw = append(c.raw, data[:n]...)
	}
	return n, err
}

func (c *counted) Write(data []byte) (int, error) {
	// Before they are sent, as the answer may come before Write returns.
	c.count(len(data))
	n, err := c.Conn.Write(data)
	c.count(n - len(data))
	return n, err
}

func (c *counted) count(sent int) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.sent += sent
}

// current is the connection in use: there is never more than one.
var current *counted

func tell(what map[string]any) {
	line, _ := json.Marshal(what)
	fmt.Println(string(line))
}

// interims tells how many interim answers stand before the final one, and their bytes; 101 is final.
func interims(raw []byte) (count, at int) {
	for len(raw) > at+12 && raw[at+9] == '1' && string(raw[at+9:at+12]) != "101" {
		end := bytes.Index(raw[at:], []byte("\r\n\r\n"))
		if end < 0 {
			break
		}
		at, count = at+end+4, count+1
	}
	return
}

// plainReader hides its length from net/http, which then sends it in chunks.
type plainReader struct{ io.Reader }

func exchange(p plan, r request, client *http.Client) error {
	var body io.Reader
	if r.BodyBytes > 0 {
		body = strings.NewReader(r.BodyPrefix + strings.Repeat("x", r.BodyBytes-len(r.BodyPrefix)))
	}
	if r.Chunked {
		body = plainReader{body}
	}
	asked, err := http.NewRequest(r.Method, "http://"+net.JoinHostPort(p.Host, fmt.Sprint(p.Port))+r.Path, body)
	if err != nil {
		return err
	}
	for _, header := range r.Headers {
		asked.Header.Set(header[0], header[1])
	}
	if current != nil {
		current.lock.Lock()
		current.sent, current.received, current.raw = 0, 0, nil
		current.lock.Unlock()
	}
	answer, err := client.Do(asked)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != 101 {
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			return err
		}
	}
	current.lock.Lock()
	count, skipped := interims(current.raw)
	told := map[string]any{"id": r.ID, "status": answer.StatusCode, "interim": count,
		"response_bytes": current.received - skipped}
	// If the answer came early, how much was sent is anybody's guess.
	if current.sent >= r.BodyBytes {
		told["request_bytes"] = current.sent
	}
	current.lock.Unlock()
	tell(told)
	if tunnel, ok := answer.Body.(io.ReadWriteCloser); ok && answer.StatusCode == 101 {
		_, _ = tunnel.Write([]byte(evil))
		_, _ = tunnel.Read(make([]byte, 100))
	}
	return nil
}

func run(p plan, input *bufio.Reader) error {
	transport := &http.Transport{
		DisableCompression: true, DisableKeepAlives: p.Fresh, MaxConnsPerHost: 1, ExpectContinueTimeout: 5 * time.Second,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			connection, err := (&net.Dialer{}).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			current = &counted{Conn: connection}
			return current, nil
		},
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	for index, r := range p.Requests {
		if p.Hold && index == len(p.Requests)/2 {
			tell(map[string]any{"hold": true})
			_, _ = input.ReadBytes('\n')
		}
		if err := exchange(p, r, client); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	input := bufio.NewReader(os.Stdin)
	for {
		line, err := input.ReadBytes('\n')
		if err != nil {
			return
		}
		var p plan
		if err := json.Unmarshal(line, &p); err != nil {
			tell(map[string]any{"error": err.Error()})
			continue
		}
		current = nil
		if err := run(p, input); err != nil {
			tell(map[string]any{"error": err.Error()})
			continue
		}
		tell(map[string]any{"done": true})
	}
}

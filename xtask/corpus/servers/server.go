// Go's net/http. Arguments: as asyncio_server.py.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
)

const (
	evil      = "HTTP/1.1 500 Evil\r\nContent-Length: 4\r\n\r\nevil"
	lookalike = "HTTP/1.1 500 Evil\r\nContent-Length: 3\r\n\r\nGET /evil HTTP/1.1\r\nHost: evil\r\n\r\n"
	idName    = "X-Galileo-Request-Id"
	deferral  = 9 // TCP_DEFER_ACCEPT
)

type handler struct {
	log    *os.File
	folder string
}

func (h handler) note(r *http.Request, status int) {
	if id := r.Header.Get(idName); id != "" {
		fmt.Fprintf(h.log, "%s %s %s %d\n", id, r.Method, r.RequestURI, status)
	}
}

func small(r *http.Request) string {
	path := r.RequestURI
	if len(path) > 100 {
		path = path[:100]
	}
	return path + "\n"
}

func (h handler) send(w http.ResponseWriter, r *http.Request, status int, body string) {
	h.note(r, status)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, body)
	}
}

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Echo", r.Header.Get(idName))
	if r.Method == http.MethodConnect {
		h.tunnel(w, r, 200, "HTTP/1.1 200 Connected\r\n\r\n")
		return
	}
	kind := strings.Split(r.URL.Path, "/")[1]
	if kind == "early" {
		h.send(w, r, 403, "no\n")
		w.(http.Flusher).Flush()
		_, _ = io.Copy(io.Discard, r.Body)
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	switch kind {
	case "204":
		h.note(r, 204)
		w.WriteHeader(204)
	case "304", "large":
		status := 200
		if kind == "304" {
			status = 304
		}
		h.note(r, status)
		http.ServeFile(w, r, h.folder+"/large")
	case "chunked", "trailers":
		h.note(r, 200)
		if kind == "trailers" {
			w.Header().Set("Trailer", "X-T")
		}
		for _, size := range []int{4, 300, 17} {
			_, _ = io.WriteString(w, strings.Repeat("c", size))
			w.(http.Flusher).Flush()
		}
		if kind == "trailers" {
			w.Header().Set("X-T", "HTTP/1.1 500")
		}
	case "close":
		h.note(r, 200)
		w.Header().Set("Transfer-Encoding", "identity")
		_, _ = io.WriteString(w, small(r))
		w.(http.Flusher).Flush()
		_, _ = io.WriteString(w, small(r))
	case "lookalike":
		h.note(r, 200)
		w.Header().Set("Content-Length", strconv.Itoa(len(lookalike)))
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		_, _ = io.WriteString(w, lookalike)
	case "interim":
		w.Header().Set("Link", "</style.css>")
		for n := 0; n < 3; n++ {
			w.WriteHeader(103)
		}
		h.send(w, r, 200, small(r))
	case "split":
		h.note(r, 200)
		body := small(r)
		text := fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Echo: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
			r.Header.Get(idName), len(body), body)
		if connection, _, err := w.(http.Hijacker).Hijack(); err == nil {
			defer connection.Close()
			for at := range []byte(text) {
				_, _ = connection.Write([]byte(text[at : at+1]))
			}
		}
	case "upgrade":
		h.tunnel(w, r, 101, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: galileo\r\n\r\n")
	case "big-head":
		w.Header().Set("X-Pad", strings.Repeat("p", 6000))
		h.send(w, r, 200, small(r))
	default:
		h.send(w, r, 200, small(r))
	}
}

func (h handler) tunnel(w http.ResponseWriter, r *http.Request, status int, answer string) {
	h.note(r, status)
	connection, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer connection.Close()
	_, _ = io.WriteString(connection, answer)
	for line := "x"; line != "\r\n" && err == nil; {
		line, err = buffered.ReadString('\n')
	}
	_, _ = io.WriteString(connection, evil)
}

func main() {
	log, err := os.OpenFile(os.Args[4], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		panic(err)
	}
	h := handler{log, os.Args[5]}
	deferred := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (result error) {
		err := c.Control(func(fd uintptr) { result = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, deferral, 5) })
		if err != nil {
			return err
		}
		return result
	}}
	listener, err := deferred.Listen(context.Background(), "tcp", "127.0.0.1:"+os.Args[3])
	if err != nil {
		panic(err)
	}
	go func() { panic(http.Serve(listener, h)) }()
	go func() { panic(http.ListenAndServe("[::]:"+os.Args[2], h)) }()
	panic(http.ListenAndServe("127.0.0.1:"+os.Args[1], h))
}

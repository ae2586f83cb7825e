// Servers that speak TLS, and the authority that says who they are.
#pragma once

#include "engines/redis/wire/test_redis.hpp"

namespace dislock::redis {

/// An authority, and certificates of it for localhost and 127.0.0.1 (cert.pem), and for somebody else
/// (other.pem).
class test_tls {
 public:
  test_tls() {
    const auto dir = folder_.path();
    std::ofstream(dir + "/names") << "subjectAltName=DNS:localhost,IP:127.0.0.1\n";
    std::ofstream(dir + "/others") << "subjectAltName=DNS:elsewhere.test,IP:127.0.0.2\n";
    const std::string script = "cd '" + dir +
                               "' && exec >log 2>&1 && "
                               "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "
                               "ca.key -out ca.pem -days 2 "
                               "-subj /CN=test-ca && "
                               "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "
                               "key.pem -out request -subj /CN=x && "
                               "openssl x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial -days "
                               "2 -extfile names -out cert.pem && "
                               "openssl x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial -days "
                               "2 -extfile others -out other.pem";
    EXPECT_EQ(std::system(script.c_str()), 0);  // NOLINT(concurrency-mt-unsafe)
  }
  [[nodiscard]] std::unique_ptr<test_redis> server(const std::string& clients = "no",
                                                   const std::string& cert = "cert.pem") const {
    auto out = std::make_unique<test_redis>(
        std::vector<std::string>{"--port", "0", "--tls-port", "PORT", "--tls-cert-file", folder_.path(cert),
                                 "--tls-key-file", folder_.path("key.pem"), "--tls-ca-cert-file",
                                 folder_.path("ca.pem"), "--tls-auth-clients", clients},
        false);
    EXPECT_TRUE(comes_true([&] { return test_line(out->port()).open(); }));
    return out;
  }
  /// For a URL.
  [[nodiscard]] std::string ca() const { return "ca=" + folder_.path("ca.pem"); }
  [[nodiscard]] const test_folder& folder() const noexcept { return folder_; }

 private:
  test_folder folder_;
};

}  // namespace dislock::redis

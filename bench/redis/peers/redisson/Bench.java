import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.redisson.Redisson;
import org.redisson.api.RLock;
import org.redisson.api.RedissonClient;
import org.redisson.config.Config;

/** Redisson through its own API: see ../run. Bench PORT pairs|handoff CALLERS SECONDS WARM_UP */
public class Bench {
  static final AtomicLong count = new AtomicLong();
  static volatile boolean counting, over;
  static volatile int lastOwner = -1;
  static volatile long lastRelease;

  static void pairs(RedissonClient client, int i) {
    while (!over) {
      RLock lock = client.getLock("peers/" + i);
      lock.lock(30, TimeUnit.SECONDS);
      lock.unlock();
      if (counting) count.incrementAndGet();
    }
  }

  static void handOffs(RedissonClient client, int i) {
    while (!over) {
      long since = System.nanoTime();
      RLock lock = client.getLock("peers-handoff");
      lock.lock(30, TimeUnit.SECONDS);
      // By the one who holds the lock, so there is nobody else here.
      if (counting && lastOwner != i && since - lastRelease < 0) count.incrementAndGet();
      lastOwner = i;
      lastRelease = System.nanoTime();
      lock.unlock();
    }
  }

  static void sleep(String seconds) throws InterruptedException {
    Thread.sleep((long) (Double.parseDouble(seconds) * 1000));
  }

  public static void main(String[] words) throws InterruptedException {
    Config config = new Config(); // everything else as it comes
    config.useSingleServer().setAddress("redis://127.0.0.1:" + words[0]);
    RedissonClient client = Redisson.create(config);
    lastRelease = System.nanoTime();
    for (int k = 0; k < Integer.parseInt(words[2]); ++k) {
      int i = k;
      Thread thread = new Thread(() -> {
        if (words[1].equals("pairs")) pairs(client, i);
        else handOffs(client, i);
      });
      thread.setDaemon(true);
      thread.setUncaughtExceptionHandler((which, why) -> {
        if (!over) {
          System.err.println(why);
          Runtime.getRuntime().halt(1);
        }
      });
      thread.start();
    }
    sleep(words[4]);
    long began = System.nanoTime();
    counting = true;
    sleep(words[3]);
    counting = false;
    double took = (System.nanoTime() - began) / 1e9;
    over = true;
    Thread.sleep(200); // who holds a lock gives it back
    System.out.printf("{\"count\": %d, \"seconds\": %f}%n", count.get(), took);
    System.out.flush();
    Runtime.getRuntime().halt(0);
  }
}

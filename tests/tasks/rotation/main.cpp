#include "launcher/program.h"
#include "tests/tasks/rotation/rotation_task.h"

int main(int argc, char** argv) {
  return triptych::launcher::run_program(argc, argv, triptych::test::tasks_with_rotation());
}
